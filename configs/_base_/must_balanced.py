# What a *_balanced recipe takes beside its own base: no masks, labels that are
# balanced as far as neighbours agree, half the way at most, a warm-up. Two
# bases may not set one key, so the parts have names of their own, and the
# recipe puts them where they belong.
balanced = dict(
    masked_view='off',
    pseudo_labels=dict(alignment=dict(type='BalancedLabels', strength='auto')),
)
# the recipe adds its epochs as end
warm_up = dict(
    type='WarmupCosineLR', warmup_ratio=0.2, convert_to_iter_based=True
)
