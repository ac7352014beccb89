"""
Detectors compared
==================

Each detector on one rendered section, whose expressing pixels are known.
"""

# %%
# A section of the phantom at 5 um a pixel, with uneven light, texture and dust.

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import pipeline
from pipeline.phantom import render_section
from pipeline.phantom.scenes import phantom_scene, render_options

UM = 5.0
scene = phantom_scene("sagittal", 6, UM, render_options({"seed": 3, "texture": 0.1, "dust": 2.0}))
section = render_section(scene, 3)
pixels, truth = section.pixels, section.truth.expressing
print(f"{pixels.shape[1]} x {pixels.shape[0]} px, {100 * truth.mean():.1f} % express")

# %%
# Statistics come from a reduced image. A run settles them over all sections; here is one.

step = pipeline.statistics_step(UM)
reduced = pipeline.block_mean(pixels, step)
(context,) = pipeline.pool_contexts(
    [pipeline.measure_section(reduced, np.ones(reduced.shape[:2], bool), UM * step)]
)
context = replace(context, resolution_um=UM)

# %%
# ``plain`` is left out: it is the definition of ``adaptive`` written with scikit-image, and slow.

masks = {
    name: pipeline.make_detector(name, {})(pixels, context) for name in pipeline.DETECTORS if name != "plain"
}
for name, mask in masks.items():
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    print(f"{name:10} Dice {dice:.3f}, found over true area {mask.sum() / truth.sum():.2f}")

# %%
# A part of the section: green is found and true, red is found only, blue is missed.

rows, columns = np.nonzero(truth)
y, x = int(np.median(rows)), int(np.median(columns))
part = np.s_[max(y - 110, 0) : y + 110, max(x - 150, 0) : x + 150]
figure, axes = plt.subplots(2, 3, figsize=(11, 5.6), layout="constrained")
axes.flat[0].imshow(pixels[part])
axes.flat[0].set_title("section")
for axis, (name, mask) in zip(axes.flat[1:], masks.items(), strict=False):
    shown = np.ones((*truth[part].shape, 3))
    shown[(mask & truth)[part]] = (0.1, 0.6, 0.2)
    shown[(mask & ~truth)[part]] = (0.85, 0.1, 0.1)
    shown[(~mask & truth)[part]] = (0.1, 0.3, 0.9)
    axis.imshow(shown)
    axis.set_title(name)
for axis in axes.flat:
    axis.axis("off")
plt.show()
