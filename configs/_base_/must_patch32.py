# Patches of 32 pixels for a model of ViT-B/16, wherever their size is named.
patches_of_32 = dict(
    backbone=dict(patch_size=32),
    decoder=dict(encoder_stride=32),
    mim_head=dict(patch_size=32),
)
