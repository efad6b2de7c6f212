# What every MUST run shares: registration, teacher, guards, logging.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['must_mm'], allow_failed_imports=False)

teacher = dict(
    type='EMATeacherHook',
    decay_start=0.999,
    decay_end=0.9998,
    warmup_steps=2000,
)
guards = [
    dict(type='ValidateStartHook'),
    dict(type='ClassCheckHook'),
    dict(type='FairnessRestartHook'),
    dict(type='HealthHook', interval=10),
    dict(type='CollapseHook'),
    dict(type='BadImageHook'),
    dict(type='StartPassHook'),
    dict(type='CompileBlocksHook', device='cuda'),
    dict(type='LoaderWaitHook'),
    dict(type='FreezeGarbageHook'),
    dict(type='BatchCheckHook'),
]
custom_hooks = [teacher, *guards]
default_hooks = dict(
    runtime_info=dict(type='LateRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    batch_norm=dict(type='BatchNormHook'),
)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict(type='TeacherStudentValLoop')
test_cfg = dict(type='TeacherStudentTestLoop')

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # seconds: one node may fetch and embed while another waits, or rank 0
    # check and write checkpoints
    dist_cfg=dict(backend='nccl', timeout=3600),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='LateVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
