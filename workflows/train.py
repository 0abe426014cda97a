"""Training of a 2-D network on volumes: ``finevox train CONFIG --data FOLDER --output FOLDER``.

Patches are degraded by bicubic reduction in the plane of the slices; loss L1, optimiser Adam,
learning rate linear up then cosine down, weights averaged exponentially. The run folder holds
``checkpoint.pt`` (everything needed to go on), ``curve.csv`` and, at the end, the averaged
network as safetensors.
"""

from __future__ import annotations

import csv
import fnmatch
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import nn

from finevox.errors import ConfigError
from finevox.networks.fmen import FMEN
from finevox.pipeline.patches import Pair, PatchSampler, make_pair, plane_axes
from finevox.transforms.grid import Grid

log = logging.getLogger(__name__)


def load_pairs(data, subjects, single_plane, scale, every_plane=True):
    out = {}
    for sub in subjects:
        for f in sorted((data / sub / "anat").glob("*.nii.gz")):
            img = nib.load(f)
            vol = np.asarray(img.dataobj, dtype=np.float32)
            grid = Grid(vol.shape, img.affine)
            ep = every_plane and not any(fnmatch.fnmatch(f.name, p) for p in single_plane)
            out[f.name] = [make_pair(vol, a, scale) for a in plane_axes(grid, every_plane=ep)]
            log.info("%s %s %s", f.name, vol.shape, plane_axes(grid, every_plane=ep))
    return out


def rate(step, s):
    if step < s["warm_up"]:
        return (step + 1) / s["warm_up"]
    done = (step - s["warm_up"]) / max(1, s["steps"] - s["warm_up"])
    return 0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


@torch.no_grad()
def validate(model, pairs):
    model.eval()
    inf = FMEN(trained=False).eval()
    inf.load_state_dict(model.reparameterised_state())
    inf = inf.to(memory_format=torch.channels_last)
    from finevox.transforms.bicubic import bicubic_resize
    rows = {}
    for name, planes in pairs.items():
        low, high = planes[0]
        idx = np.linspace(0.3, 0.7, 4) * low.shape[0]
        idx = idx.astype(int)
        l, h = low[idx], high[idx]
        y = inf(torch.from_numpy(l)[:, None].contiguous(memory_format=torch.channels_last)).numpy()[:, 0]
        b = bicubic_resize(l, {1: h.shape[1], 2: h.shape[2]})
        peak = high.max() - high.min()
        p = lambda z: 10 * math.log10(peak**2 / np.mean((z - h).astype(float) ** 2))
        rows[name] = (p(y), p(b))
    return rows


def main(cfg, data, out):
    import yaml
    s = yaml.safe_load(Path(cfg).read_text())
    s["learning_rate"] = float(s["learning_rate"])
    data, out = Path(data), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tr = load_pairs(data, s["training"], s["single_plane"], s["scale"])
    va = load_pairs(data, s["validation"], s["single_plane"], s["scale"], False)
    torch.manual_seed(s["seed"])
    gen = torch.Generator().manual_seed(s["seed"])
    model = FMEN().to(memory_format=torch.channels_last)
    avg = FMEN()
    avg.load_state_dict(model.state_dict())
    opt = torch.optim.Adam(model.parameters(), lr=s["learning_rate"])
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda k: rate(k, s))
    sampler = PatchSampler(list(tr.values()), s["scale"], s["patch"], s["batch"])
    step = 0
    ck = out / "checkpoint.pt"
    if ck.exists():
        c = torch.load(ck, weights_only=True)
        model.load_state_dict(c["model"]); avg.load_state_dict(c["average"])
        opt.load_state_dict(c["optimiser"]); sched.load_state_dict(c["schedule"])
        gen.set_state(c["generator"]); step = c["step"]
    tot, t0 = 0.0, time.time()
    while step < s["steps"]:
        model.train()
        low, high = sampler.draw(gen)
        low = low.contiguous(memory_format=torch.channels_last)
        loss = nn.functional.l1_loss(model(low), high)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step(); sched.step(); step += 1
        decay = min(s["average"], step / (step + 10))
        with torch.no_grad():
            for a, b in zip(avg.state_dict().values(), model.state_dict().values()):
                if a.is_floating_point(): a.lerp_(b, 1 - decay)
                else: a.copy_(b)
        tot += float(loss.detach())
        if step % 100 == 0:
            log.info("step %d loss %.5f %.3f s/step", step, tot / 100, (time.time() - t0) / 100)
            last = tot / 100; tot, t0 = 0.0, time.time()
        if step % 500 == 0 or step == s["steps"]:
            tmp = ck.with_suffix(".tmp")
            torch.save(dict(model=model.state_dict(), average=avg.state_dict(), optimiser=opt.state_dict(), schedule=sched.state_dict(), generator=gen.get_state(), step=step), tmp)
            tmp.replace(ck)
        if step % s["validate_every"] == 0 or step == s["steps"]:
            rows = validate(avg, va)
            gain = np.mean([a - b for a, b in rows.values()])
            log.info("step %d gain %.3f dB %s", step, gain, {k: f"{a:.2f}/{b:.2f}" for k, (a, b) in rows.items()})
            with (out / "curve.csv").open("a", newline="") as f:
                csv.writer(f).writerow([step, last, gain, *[round(x, 4) for r in rows.values() for x in r]])
            t0 = time.time()


if __name__ == "__main__":
    import sys
    main(*sys.argv[1:])
