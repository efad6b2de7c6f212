# What a *_balanced recipe takes beside its own base: no masks, labels that are
# balanced half the way to estimated shares of the classes, a warm-up. Two
# bases may not set one key, so the parts have names of their own, and the
# recipe puts them where they belong.
balanced = dict(
    masked_view='off',
    pseudo_labels=dict(
        alignment=dict(type='BalancedLabels', prior='auto', strength=0.5)
    ),
)
# the recipe adds its epochs as end
warm_up = dict(
    type='WarmupCosineLR', warmup_ratio=0.2, convert_to_iter_based=True
)
