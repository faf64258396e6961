"""The page in a real browser."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from ws3.report.html import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH"),
]

# Runs inside a copy of the page, so that --dump-dom shows what the browser made of it.
PROBE = """
<script>
window.addEventListener("load", async () => {
  const pictures = [...document.images];
  for (const picture of pictures) picture.loading = "eager";
  await Promise.allSettled(pictures.map((picture) => picture.decode()));
  const broken = pictures.filter((picture) => picture.naturalWidth === 0).map((p) => p.src);
  const head = [...document.querySelectorAll("#scores thead button")][1];
  const names = () => [...document.querySelectorAll("#scores tbody")][0].innerText
    .split("\\n").map((line) => line.split("\\t")[0]).slice(1, 5).join(" ");
  head.click();
  const descending = names();
  head.click();
  const ascending = names();
  document.querySelector("a.zoom").click();
  const found = {
    pictures: pictures.length,
    broken: broken.length,
    descending,
    ascending,
    enlarged: document.querySelector("dialog").open,
    overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  };
  const result = document.createElement("output");
  result.id = "probe";
  for (const [key, value] of Object.entries(found)) result.dataset[key] = value;
  document.body.append(result);
});
</script>
"""


def browse(profile, url, *options):
    """Return what the browser printed; a message on its console fails the test."""
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        *options,
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == []
    return done.stdout


@pytest.fixture(scope="module")
def folder(make_report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browsed")
    write_report(folder, make_report(folder))
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_painted(folder, tmp_path, scheme):
    shot = tmp_path / "shot.png"
    # 0 and 1 are Chromium's own numbers for a dark and a light preference.
    preference = {"dark": 0, "light": 1}[scheme]
    browse(
        tmp_path / "profile",
        (folder / "index.html").as_uri(),
        f"--screenshot={shot}",
        "--window-size=1280,2400",
        f"--blink-settings=preferredColorScheme={preference}",
    )
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("L"), dtype=np.float64)
    assert pixels.shape == (2400, 1280)
    assert (np.median(pixels) < 80) == (scheme == "dark")
    for part in np.array_split(pixels, 4):
        assert part.std() > 5


@pytest.mark.parametrize("width", [500, 1400])
def test_pictures_load_tables_sort_and_pictures_enlarge(folder, tmp_path, width):
    page = (folder / "index.html").read_text(encoding="utf-8")
    probed = folder / f"probed{width}.html"
    probed.write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = browse(
        tmp_path / "profile",
        probed.as_uri(),
        "--dump-dom",
        "--virtual-time-budget=10000",
        f"--window-size={width},900",
    )
    probe = dom[dom.index('<output id="probe"') :].split(">")[0]
    assert 'data-broken="0"' in probe
    assert int(probe.split('data-pictures="')[1].split('"')[0]) > 30
    assert 'data-descending="saliency_crops cam gradcam saliency"' in probe
    assert 'data-ascending="saliency gradcam cam saliency_crops"' in probe
    assert 'data-enlarged="true"' in probe
    assert 'data-overflow="false"' in probe
