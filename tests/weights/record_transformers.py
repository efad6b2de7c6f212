"""Record tiny random CLIP and SigLIP of transformers, with their logits.

python tests/weights/record_transformers.py tests/data/transformers.npz

Made with transformers 4.57.6; the tests need the recording alone.
"""

import sys

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

TEXT = dict(
    vocab_size=60,
    max_position_embeddings=8,
    intermediate_size=64,
    num_hidden_layers=2,
    bos_token_id=58,
    eos_token_id=59,
)
VISION = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
)
IDS = torch.tensor(
    [
        [58, 5, 7, 9, 59, 0, 0, 0],
        [58, 40, 59, 0, 0, 0, 0, 0],
        [58, 3, 2, 1, 11, 59, 0, 0],
    ]
)


def record(model, pixels: torch.Tensor, state=None):
    """Weights in half precision, norms and biases not trivial; logits."""
    if state is None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            model.logit_scale.fill_(2.0)
        state = {k: v.half().float() for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    with torch.no_grad():
        said = model.eval()(input_ids=IDS, pixel_values=pixels)
    return state, said.logits_per_image.numpy()


def main() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 16, 16)
    out = dict(ids=IDS.numpy(), pixels=pixels.numpy())
    state = None
    for act in ('quick_gelu', 'gelu'):
        config = CLIPConfig(
            text_config=dict(
                TEXT,
                hidden_size=16,
                num_attention_heads=1,
                pad_token_id=0,
                hidden_act=act,
            ),
            vision_config=dict(VISION, hidden_act=act),
            projection_dim=12,
        )
        state, logits = record(CLIPModel(config), pixels, state)
        out[f'clip_logits_{act}'] = logits
    out.update({f'clip/{k}': v.half().numpy() for k, v in state.items()})
    config = SiglipConfig(
        text_config=dict(
            TEXT,
            hidden_size=32,
            projection_size=32,
            num_attention_heads=2,
            pad_token_id=1,
            hidden_act='gelu',
        ),
        vision_config=dict(VISION, hidden_act='gelu'),
    )
    state, out['siglip_logits'] = record(SiglipModel(config), pixels)
    out.update({f'siglip/{k}': v.half().numpy() for k, v in state.items()})
    np.savez_compressed(sys.argv[1], **out)


if __name__ == '__main__':
    main()
