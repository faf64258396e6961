#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: cv2.resize of bytes with INTER_LINEAR makes pictures darker.
#
# Expected: bilinear interpolation of uint8 pixels is that of the same pixels as floats, which OpenCV offers
# too, rounded to the nearest byte, so that errors cancel.
# Seen: the mean over an enlarged picture of noise is 0.06 to 0.13 of 255 below that of the float path, at
# every factor that was tried, and a tenth of the bytes is one too low: weights and sums are integers of
# few bits, and what is cut off is never put back. A mean over many resized pictures does not remove it.
# ws3: ws3/pixels.py resizes bytes with it, for the CPU and in tests; the GPU's way (device_geometry.py)
# interpolates floats and rounds, so the two differ by 1 of 255 in some pixels. The stated tolerance is that.
#
# Needs Python 3.11 or newer and a package index; takes half a minute. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93
cat > "$folder/resize.py" <<'PYTHON'
import sys

import cv2
import numpy as np

picture = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
print("OpenCV", cv2.__version__)
biased = []
for factor in (1.3, 1.5, 2, 3):
    side = int(200 * factor)
    exact = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    found = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    rounded = np.rint(exact)
    bias, of_rounded = (found - exact).mean(), (rounded - exact).mean()
    low, high = (found < rounded).mean(), (found > rounded).mean()
    print(
        f"x {factor}: mean error {bias:+.3f} (rounded floats {of_rounded:+.3f}), "
        f"{low:.1%} of the bytes 1 too low, {high:.1%} too high"
    )
    biased.append(bias < -0.04 and abs(of_rounded) < 0.01 and low > 5 * high)
sys.exit(0 if all(biased) else 1)
PYTHON
"$folder/venv/bin/python" "$folder/resize.py"
