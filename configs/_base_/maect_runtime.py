# What every MAE-CT run shares: registration, averages, guards, logging.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['must_mm'], allow_failed_imports=False)

custom_hooks = [
    dict(type='MAECTAveragesHook'),
    dict(type='MAECTCheckHook'),
    dict(type='BatchCheckHook'),
    dict(type='HealthHook', interval=10),
    dict(type='BadImageHook'),
    dict(type='LoaderWaitHook'),
    dict(type='FreezeGarbageHook'),
]
default_hooks = dict(
    runtime_info=dict(type='LateRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

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
resume = False
randomness = dict(seed=0)
