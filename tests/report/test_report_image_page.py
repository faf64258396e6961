"""The page of all images in a real browser, opened from the disk."""

import html
import json
import re

import numpy as np
import pytest
from report.test_report_browser import BROWSER, browse

from ws3.report.html import write_report
from ws3.report.image_index import ImageFacts, Layer, write_image_index
from ws3.report.image_pictures import draw_pictures
from ws3.report.model import DatasetFacts, Report

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH"
)
HOSTILE = "<img src=x onerror=document.title='harmed'>&\"'</script>"
CLASSES = ("cat", HOSTILE)
COUNT = 130
ENDINGS = {"photo": "jpg", "maps": "jpg", "masks": "png", "regions": "png"}

# Each step notes what a person would see; keys are pressed as a person presses them.
PROBE = """
<script>
window.addEventListener("load", () => {
  const found = {};
  const names = () => [...document.querySelectorAll("#grid .name")].map((one) => one.textContent);
  const set = (id, value, event = "change") => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event(event));
  };
  const press = (key) =>
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const text = (id) => document.getElementById(id).textContent;
  found.first = names();
  found.count = text("count");
  found.pages = text("pages");
  press("ArrowRight");
  found.second = names().slice(0, 2);
  set("name", "image 12", "input");
  found.searched = names();
  found.searchedCount = text("count");
  set("name", "", "input");
  set("class", "1");
  found.ofClass = text("count");
  set("class", "none");
  found.negatives = names();
  set("class", "");
  set("sort", "worst");
  found.worst = names().slice(0, 2);
  set("sort", "best");
  found.best = names().slice(0, 2);
  set("layer", "1");
  set("sort", "gain");
  found.gain = names().slice(0, 2);
  found.words = document.querySelector("#grid .fine").textContent;
  set("sort", "contradictions");
  found.contradictions = names().slice(0, 1);
  set("sort", "disagreement");
  found.disagreement = names().slice(0, 1);
  set("show", "worse");
  found.worse = text("count");
  set("show", "all");
  set("sort", "dataset");
  press("/");
  found.focused = document.activeElement.id;
  document.querySelectorAll("#grid button")[3].click();
  found.open = document.getElementById("viewer").open;
  found.title = text("v-name");
  found.hash = location.hash;
  press("ArrowRight");
  found.next = text("v-name");
  set("opacity", "20", "input");
  const opacities = [...document.querySelectorAll("#viewer img.over")].map((i) => i.style.opacity);
  found.opacities = [...new Set(opacities)];
  found.labels = [...document.querySelectorAll("#viewer [role=img]")].map((i) => i.ariaLabel);
  found.chips = [...document.querySelectorAll("#v-facts .chip")].map((one) => one.textContent);
  const done = () => {
    found.regions = [...document.querySelectorAll("#viewer figcaption")].at(-1).textContent;
    found.legend = [...document.querySelectorAll("#v-legend li")].map((one) => one.textContent);
    const pictures = [...document.images];
    found.pictures = pictures.length;
    found.broken = pictures.filter((one) => one.complete && !one.naturalWidth).length;
    found.head = document.title;
    found.overflow = document.documentElement.scrollWidth > document.documentElement.clientWidth;
    document.getElementById("v-close").click();
    const result = document.createElement("output");
    result.id = "probe";
    result.textContent = JSON.stringify(found);
    document.body.append(result);
  };
  const legend = document.getElementById("v-legend");
  const wait = () => (legend.children.length ? done() : setTimeout(wait, 20));
  wait();
});
</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a report of 130 images of two recipes, of which one has a hostile name."""
    report = tmp_path_factory.mktemp("report")
    images = report / "images"
    images.mkdir()
    photo = np.full((30, 40, 3), 90, np.uint8)
    truth = np.zeros((30, 40), np.uint8)
    truth[5:15, 5:25] = 1
    half = np.where(np.arange(40) < 15, truth, 0).astype(np.uint8)
    maps = [np.stack([truth.astype(np.float32)])] * 2
    pictures = draw_pictures(photo, maps, {"cam": half, "other": truth}, {}, truth, "cam")
    facts = []
    for number in range(COUNT):
        for kind, ending in {
            "photo": "jpg",
            "maps": "jpg",
            "masks": "png",
            "regions": "png",
        }.items():
            (images / f"n{number}.{kind}.{ending}").write_bytes(getattr(pictures, kind))
        facts.append(
            ImageFacts(
                image=HOSTILE if number == 4 else f"image {number}",
                file=f"n{number}",
                split="val",
                labels=() if number == 7 else (1,) if number == 4 else (0,),
                size=(40, 30),
                truth=True,
                shares=pictures.shares,
                disagreement=0.5 if number == 99 else 0.1,
            )
        )
    cam: list[int | None] = [500] * COUNT
    cam[20], cam[30], cam[40] = 100, 900, None
    other: list[int | None] = [500] * COUNT
    other[20], other[30], other[50] = 350, 950, 400
    contradictions = [1 if number == 66 else 0 for number in range(COUNT)]
    layers = [
        Layer("cam", "masks", cam, [0] * COUNT),
        Layer("other", "masks", other, contradictions),
    ]
    write_image_index(
        images, facts, layers, recipes=["cam", "other"], classes=CLASSES, reference="cam"
    )
    dataset = DatasetFacts("drawn", CLASSES, {"val": COUNT}, {})
    write_report(report, Report(HOSTILE, {}, [], dataset, images=COUNT))
    return report


def probed(folder, tmp_path, width):
    page = (folder / "images.html").read_text(encoding="utf-8")
    path = folder / f"probed{width}.html"
    path.write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = browse(
        *(tmp_path / "profile", path.as_uri(), "--dump-dom", f"--window-size={width},900"),
        "--virtual-time-budget=5000",
    )
    (text,) = re.findall(r'<output id="probe">(.*?)</output>', dom, re.DOTALL)
    return json.loads(html.unescape(text))


@pytest.mark.parametrize("width", [500, 1400])
def test_search_sort_filters_pages_keys_and_viewer(folder, tmp_path, width):
    found = probed(folder, tmp_path, width)
    assert found["first"][:5] == [*(f"image {number}" for number in range(4)), HOSTILE]
    assert (len(found["first"]), found["count"], found["pages"]) == (48, "130 images", "of 3")
    assert found["second"] == ["image 48", "image 49"]
    assert found["searched"] == ["image 12", *(f"image {number}" for number in range(120, 130))]
    assert found["searchedCount"] == "11 of 130 images"
    assert found["ofClass"] == "1 of 130 images"
    assert found["negatives"] == ["image 7"]
    # What has no IoU comes last in either order.
    assert found["worst"] == ["image 20", "image 0"]
    assert found["best"] == ["image 30", "image 0"]
    assert found["gain"] == ["image 20", "image 30"]
    assert found["words"] == "IoU 35.0\u00a0%, 25.0 points over cam"
    assert (found["contradictions"], found["disagreement"]) == (["image 66"], ["image 99"])
    assert found["worse"] == "1 of 130 images"
    assert found["focused"] == "name"
    assert (found["open"], found["title"], found["hash"]) == (True, "image 3", "#image=image+3")
    assert (found["next"], found["chips"]) == (HOSTILE, [HOSTILE])
    assert found["opacities"] == ["0.2"]
    assert f"Pseudo-mask of {HOSTILE}" in found["labels"]
    shares = "both 50 %, cam alone 0 %, this mask alone 50 %, missed 0 %".replace(" %", "\u00a0%")
    assert found["regions"] == f"Object pixels found by: {shares}"
    assert found["legend"][0] == "found by both"
    # 48 cards of two pictures; photograph, truth, and of two recipes a map, a mask, one overlay.
    assert (found["pictures"], found["broken"]) == (96 + 1 + 2 + 2 * 4 + 2, 0)
    assert found["overflow"] is False
    assert found["head"] == f"{HOSTILE} \N{MIDDLE DOT} all images"


def test_an_address_opens_an_image(folder, tmp_path):
    page = (folder / "images.html").as_uri()
    dom = browse(tmp_path / "profile", f"{page}#image=image+77", "--dump-dom")
    assert re.search(r'<h2 id="v-name"[^>]*>image 77</h2>', dom)


def test_a_report_that_lost_its_data_says_so(folder, tmp_path):
    page = tmp_path / "images.html"
    page.write_bytes((folder / "images.html").read_bytes())
    dom = browse(tmp_path / "profile", page.as_uri(), "--dump-dom")
    assert "images/index.js is not there" in dom


def test_data_can_not_end_their_script(folder):
    text = (folder / "images" / "index.js").read_text("ascii")
    assert "</script>" not in text
    assert json.loads(text[len("ws3.load(") : -3])["names"][4] == HOSTILE


def test_nothing_is_loaded_from_elsewhere(folder):
    text = (folder / "images.html").read_text(encoding="utf-8")
    assert re.findall(r'<script src="([^"]*)"', text) == ["images/index.js"]
    assert "//" not in re.sub(r"(?m)^\s*//.*$", "", text).replace("<!doctype", "")
