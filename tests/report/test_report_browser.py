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
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH"
)

# Runs inside a copy of the page, so that --dump-dom shows what the browser made of it.
PROBE = """
<script>
window.addEventListener("load", () => {
  const pictures = [...document.images].filter((picture) => !picture.closest("dialog"));
  const broken = pictures.filter((picture) => picture.naturalWidth === 0);
  const head = [...document.querySelectorAll("#scores thead button")][1];
  const body = document.querySelector("#scores tbody");
  const names = () => [...body.rows].slice(1).map((row) => row.cells[0].innerText).join(" ");
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
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
    eager = page.replace('loading="lazy"', "")
    probed.write_text(eager.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = browse(
        tmp_path / "profile",
        probed.as_uri(),
        "--dump-dom",
        f"--window-size={width},900",
    )
    probe = dom[dom.index('<output id="probe"') :].split(">")[0]
    assert 'data-broken="0"' in probe
    assert f'data-pictures="{page.count("<img ")}"' in probe
    assert 'data-descending="saliency_crops cam gradcam saliency"' in probe
    assert 'data-ascending="saliency gradcam cam saliency_crops"' in probe
    assert 'data-enlarged="true"' in probe
    assert 'data-overflow="false"' in probe
