"""A config's text is formatted once, and anew when the config changes."""

import copy

from mmengine.config import Config, config

from must_mm.runs.written_once import written_once


def test_formatted_once(monkeypatch, tmp_path):
    formatted = []

    def noted(text, **options):
        formatted.append(text)
        return real(text, **options)

    real = config.FormatCode
    monkeypatch.setattr(config, 'FormatCode', noted)
    cfg = Config(dict(model=dict(type='MUST', depth=[1, 2]), epochs=3))
    cfg = written_once(cfg)
    text = cfg.pretty_text
    cfg.dump(tmp_path / 'config.py')
    assert cfg.pretty_text == copy.deepcopy(cfg).pretty_text == text
    assert len(formatted) == 1
    assert (tmp_path / 'config.py').read_text() == text
    assert text == Config(cfg.to_dict()).pretty_text
    cfg.model.depth[0] = 5
    cfg.epochs = 4
    assert cfg.pretty_text == Config(cfg.to_dict()).pretty_text != text
    assert set(cfg.to_dict()) == {'model', 'epochs'}
