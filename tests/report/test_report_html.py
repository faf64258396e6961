import base64
import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
from made_records import classifier_facts
from report_pages import Page

from ws3.report.html import write_report
from ws3.report.model import DatasetFacts, SkippedImage
from ws3.run.records import ClassifierMetrics, Oracle

DASH = "\N{EN DASH}"
HOSTILE = "<script>alert('x')</script>\"&"


def page_of(folder, report):
    return Page(write_report(folder, report).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def usual(make_report, tmp_path_factory):
    """The folder and page of the usual report; tests only read it."""
    folder = tmp_path_factory.mktemp("usual")
    return folder, page_of(folder, make_report(folder))


def test_every_score_stands_beside_its_threshold_and_ignored_share(usual):
    _, page = usual
    scores = [row for row in page.rows_of("saliency_crops") if len(row) == 11]
    tuned = ["0.27", "tuned on ground truth of train", "1.23"]
    inherited = ["0.27", "of its training masks: tuned on ground truth of train", "1.23"]
    # mIoU, precision, recall, PxAP, boundary IoU, FP and FN share; threshold, how, ignored.
    assert scores == [
        ["saliency_crops", "48.7", "62.7", "69.7", "56.7", "28.7", "30.8", "20.5", *tuned],
        ["saliency_crops", "54.7", "68.7", "75.7", DASH, "34.7", "27.2", "18.1", *tuned],
        ["saliency_crops", "58.3", "72.3", "79.3", DASH, "38.3", "25.0", "16.7", *inherited],
    ]
    regions = [row for row in page.rows_of("cam") if len(row) == 8]
    assert regions[0][1:5] == ["71.2", "36.2", "39.8", "4.3"]
    assert regions[0][5:] == ["0.27", "tuned on ground truth of train", "1.23"]


def test_intervals_stand_beside_their_figures(make_report, make_evaluation, tmp_path):
    ends = {"miou": (0.3812, 0.4534), "dr_recall": (0.65, 0.77)}
    page = page_of(
        tmp_path, make_report(tmp_path, evaluations=[make_evaluation("cam", 0.412, intervals=ends)])
    )
    scores, regions = (
        [row for row in page.rows_of("cam") if len(row) == length] for length in (11, 8)
    )
    assert scores[0][1:3] == ["41.2 [38.1, 45.3]", "55.2"]
    assert regions[0][1:3] == ["71.2 [65.0, 77.0]", "36.2"]
    text = " ".join(" ".join(page.words).split())
    assert "95 % interval 38.1 to 45.3" in text
    assert "from 2,000 draws of as many images" in text


def test_the_oracle_is_shown_as_what_it_is(make_report, make_evaluation, tmp_path, usual):
    oracle = Oracle(threshold=0.19921875, miou=0.4555)
    made = make_evaluation("cam", 0.412)
    made["splits"]["val"]["maps"]["oracle"] = oracle
    page = page_of(tmp_path, make_report(tmp_path, evaluations=[made]))
    maps, masks = [row for row in page.rows_of("cam") if len(row) == 12]
    assert (maps[-1], masks[-1]) == ("45.6 at 0.199", DASH)
    assert "Oracle mIoU" in page.rows_of("Recipe")[0]
    text = " ".join(" ".join(page.words).split())
    assert "uses the ground truth of this split" in text
    assert "published figures often are this" in text
    _, without = usual
    assert "Oracle" not in " ".join(without.words)


def test_recall_of_known_parts_stands_beside_the_regions(
    usual, make_report, make_evaluation, tmp_path
):
    assert "Known own part" not in [cell for row in usual[1].rows for cell in row]
    parts = {"discriminative_part_recall": 0.875, "shared_part_recall": 0.25}
    known = make_report(tmp_path, evaluations=[make_evaluation("cam", 0.4, **parts)])
    page = page_of(tmp_path, known)
    (heads,) = [row for row in page.rows if "Known own part" in row]
    assert heads[5:7] == ["Known own part", "Known shared part"]
    rows = [row for row in page.rows_of("cam") if len(row) == len(heads)]
    assert [row[5:7] for row in rows] == [["87.5", "25.0"]] * 2


def test_the_fully_supervised_network_is_a_row_and_never_the_best(
    make_report, make_evaluation, tmp_path
):
    learned = make_evaluation("cam", 0.4)
    learned["splits"]["val"]["segmentation"] = {**learned["splits"]["val"]["masks"], "miou": 0.5}
    fully_supervised = make_evaluation("ground_truth", 0.7, threshold=None, threshold_split="")
    fully_supervised["splits"]["val"] = {"segmentation": fully_supervised["splits"]["val"]["masks"]}
    page = page_of(tmp_path, make_report(tmp_path, evaluations=[learned, fully_supervised]))
    (row,) = [row for row in page.rows_of("ground truth (fully supervised)") if len(row) == 11]
    assert row[1] == "76.0"
    assert row[-2] == "none: trained on ground truth of train"
    words = " ".join(" ".join(page.words).split())
    assert "is no weakly supervised result" in words
    assert "Best mIoU · Segmentation network 50.0 % cam" in words


def test_per_class_table_names_threshold_and_ignored_share(usual):
    _, page = usual
    heads = [row for row in page.rows if row and row[0] == "Class" and len(row) == 5]
    assert len(heads) == 2
    for row in heads:
        assert all("threshold 0.27, tuned on ground truth of train" in cell for cell in row[1:])
        assert all("1.23 % of pixels ignored" in cell for cell in row[1:])
    assert ["heron", "41.2", "40.5", "36.1", "48.7"] in page.rows


def test_headline_gives_the_best_recipe_of_each_stage_and_its_lead(usual):
    text = " ".join(" ".join(usual[1].words).split())
    assert "Best mIoU · Score maps, before the CRF 48.7 % saliency_crops On val, 60 images" in text
    assert "Best mIoU · Pseudo-masks, after the CRF 54.7 %" in text
    assert "+7.5 points over cam" in text


def test_threshold_from_the_reported_split_brings_a_warning(
    usual, make_report, tmp_path, make_evaluation
):
    assert "chosen on the split that is reported" not in " ".join(usual[1].words)
    unfair = make_report(tmp_path, evaluations=[make_evaluation("cam", 0.4, threshold_split="val")])
    words = " ".join(" ".join(page_of(tmp_path, unfair).words).split())
    assert "Thresholds were chosen on the split that is reported." in words
    assert "threshold 0.27 tuned on val, reported on val" in words


def test_undefined_numbers_are_dashes(make_report, tmp_path, make_evaluation):
    nothing = dict.fromkeys(
        ("miou", "precision", "recall", "pxap", "boundary_iou", "fp_share", "fn_share"), None
    )
    regions = dict.fromkeys(("dr_recall", "ndr_recall", "fpr_region_rate", "tn_region_rate"), None)
    undefined = make_evaluation(
        "cam", 0.4, **nothing, **regions, threshold=None, threshold_kind="power",
        threshold_split="", ignored_share=None, sweep=None,
        per_class={"newt": {"iou": None}},
    )  # fmt: skip
    page = page_of(tmp_path, make_report(tmp_path, evaluations=[undefined]))
    power = "power background, set in the configuration"
    rows = page.rows_of("cam")
    assert ["cam", *[DASH] * 8, power, DASH] in rows
    assert ["cam", *[DASH] * 5, power, DASH] in rows
    assert ["newt", DASH] in page.rows
    assert not re.search(r"\b(None|nan|null)\b", " ".join(page.words))
    assert not list((tmp_path / "figures").glob("sweep*"))


def test_hostile_names_are_words(usual, make_report, tmp_path, make_evaluation, make_gallery_entry):
    entry = make_gallery_entry(tmp_path, HOSTILE, (HOSTILE,), 1)
    report = make_report(
        tmp_path,
        run=HOSTILE,
        config={"run": HOSTILE, HOSTILE: [HOSTILE]},
        evaluations=[
            make_evaluation(HOSTILE, 0.4, HOSTILE, per_class={HOSTILE: {"iou": 0.5}}),
        ],
        dataset=DatasetFacts(
            HOSTILE, (HOSTILE,), {HOSTILE: 3}, {}, (SkippedImage(HOSTILE, HOSTILE, HOSTILE),)
        ),
        classifier=classifier_facts(
            architecture=HOSTILE,
            epochs=None,
            metrics=ClassifierMetrics(split=HOSTILE, mean_ap=0.5, per_class_ap={HOSTILE: None}),
        ),
        gallery=(entry,),
        versions={HOSTILE: HOSTILE},
    )
    text = write_report(tmp_path, report).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == usual[1].tags.count("script") == 1
    assert "<script>alert" not in text
    assert HOSTILE in page.words
    handlers = [key for _, values in page.attributes for key in values if key.startswith("on")]
    assert handlers == []


def test_links_lead_to_files_and_sections_that_exist(usual):
    folder, page = usual
    files = [link for link in page.links if not link.startswith(("#", "data:", "https://arxiv"))]
    assert len(files) > 30
    for link in files:
        assert (folder / unquote(link)).is_file(), link
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids


def test_nothing_is_loaded_from_elsewhere(usual):
    folder, _ = usual
    text = (folder / "index.html").read_text(encoding="utf-8")
    loaded = [
        values[key]
        for tag, values in Page(text).attributes
        for key in ("src", "srcset", "href")
        if key in values and tag != "a"
    ]
    assert loaded
    assert not [link for link in loaded if "//" in link]
    assert "@import" not in text
    assert "url(" not in text
    for svg in (folder / "figures").glob("*.svg"):
        assert not re.search(r'(href|src)="(?!#)', svg.read_text(encoding="utf-8"))


def test_the_same_report_is_the_same_bytes(make_report, tmp_path):
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        write_report(folder, make_report(folder))
        contents.append(
            {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        )
    assert contents[0] == contents[1]
    assert not [path for path in contents[0] if path.suffix == ".tmp"]


def test_the_single_page_shows_the_same_with_nothing_beside_it(make_report, tmp_path):
    report = make_report(tmp_path, images=7)
    usual = page_of(tmp_path, report)
    single = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert (single.rows, single.ids) == (usual.rows, usual.ids)
    assert "images.html" in usual.links
    held = {unquote(link) for link in map(str, usual.links) if link.endswith((".svg", ".jpg"))}
    assert len(held) > 10
    links = list(map(str, single.links))
    pictures = [link for link in links if link.startswith("data:image")]
    decoded = {base64.b64decode(link.partition("base64,")[2]) for link in pictures}
    assert decoded == {(tmp_path / name).read_bytes() for name in held}
    kinds = {link.partition(";")[0] for link in pictures}
    assert kinds == {"data:image/svg+xml", "data:image/jpeg"}
    assert all(link.startswith(("data:", "#", "https:")) for link in links)


def test_a_failed_report_leaves_the_old_page(make_report, tmp_path):
    path = write_report(tmp_path, make_report(tmp_path))
    before = path.read_bytes()
    report = make_report(tmp_path)
    (tmp_path / report.gallery[0].photo).unlink()
    with pytest.raises(ValueError, match="is not in"):
        write_report(tmp_path, report)
    assert path.read_bytes() == before


def test_an_image_that_two_recipes_skipped_counts_once(make_report, tmp_path):
    skipped = tuple(SkippedImage("img_9", "val", f"{name}, NaN") for name in ("cam", "saliency"))
    dataset = DatasetFacts("voc", ("newt",), {"val": 3}, {}, skipped)
    page = page_of(tmp_path, make_report(tmp_path, dataset=dataset, gallery=()))
    assert "1 image was skipped" in " ".join(page.words)
    assert page.rows_of("img_9") == [
        ["img_9", "val", "cam, NaN"],
        ["img_9", "val", "saliency, NaN"],
    ]


def test_one_recipe_alone(make_report, tmp_path, make_evaluation):
    report = make_report(tmp_path, evaluations=[make_evaluation("cam", 0.4)], gallery=())
    page = page_of(tmp_path, report)
    assert len([row for row in page.rows_of("cam") if len(row) == 11]) == 2
    assert "gallery" not in page.ids


def test_two_splits_have_charts_of_their_own(make_report, tmp_path, make_evaluation, make_metrics):
    both = make_evaluation("cam", 0.4)
    both["splits"]["train"] = {"maps": make_metrics(0.5, "maps")}
    page = page_of(tmp_path, make_report(tmp_path, evaluations=[both]))
    assert {"figures/miou-val.light.svg", "figures/miou-train.light.svg"} <= set(page.links)
    biased = " ".join(" ".join(page.words).split())
    assert "threshold 0.27 tuned on train, reported on train" in biased


def test_nothing_evaluated_still_makes_a_page(make_report, tmp_path):
    report = make_report(
        tmp_path, evaluations=[], classifier=None, gallery=(), timings=(), versions={}, config={}
    )
    words = " ".join(page_of(tmp_path, report).words)
    assert "Nothing was evaluated" in words
    assert "No times were recorded" in words


def test_facts_are_on_the_page(usual):
    _, page = usual
    assert ["img_0017", "train", "truncated JPEG"] in page.rows
    assert ["heron", "61", "15", "95.0"] in page.rows
    assert ["saliency", "saliency_crops", "300", "1 h 02 min", "0.0805", "98.7 MB"] in page.rows
    words = " ".join(page.words)
    assert "arXiv 2308.11052" in words
    assert "choices of ws3 and not the paper's" in words
    assert "2.15.0" in words
    assert "kind: tuned" in words


def test_pictures_have_words_and_heads_have_scopes(usual):
    _, page = usual
    pictures = [values for tag, values in page.attributes if tag == "img"]
    assert all(values["alt"].strip() for values in pictures)
    heads = [values for tag, values in page.attributes if tag == "th"]
    assert heads
    assert all(values.get("scope") in ("col", "row", "rowgroup") for values in heads)


def test_facts_and_warnings_of_the_dataset_stand_at_the_head(make_report, tmp_path):
    report = make_report(tmp_path)
    dataset = replace(
        report.dataset,
        facts=("12 pictures: 9 train, 3 val", f"no {HOSTILE}"),
        warnings=("1 of 9 masks hold no class at all",),
    )
    empty = {"cam": (4, 9)}
    page = page_of(tmp_path, replace(report, dataset=dataset, empty_masks=empty))
    words = " ".join("".join(page.words).split())
    head = words[: words.index("All shares in percent")]
    assert f"12 pictures: 9 train, 3 val. No {HOSTILE}." in head
    assert "1 of 9 masks hold no class at all" in head
    assert "all background: cam 4 of 9." in head
    assert "There is no mIoU" not in words


def test_an_undefined_miou_is_explained(make_report, make_evaluation, tmp_path):
    report = make_report(tmp_path)
    evaluations = [
        evaluation.model_copy(
            update={
                "splits": {
                    split: {
                        stage: found.model_copy(update={"figures": {**found.figures, "miou": None}})
                        for stage, found in stages.items()
                    }
                    for split, stages in evaluation.splits.items()
                }
            }
        )
        for evaluation in report.evaluations
    ]
    page = page_of(tmp_path, replace(report, evaluations=evaluations))
    words = " ".join("".join(page.words).split())
    assert "There is no mIoU on val: the ground truth holds no object pixel" in words


def test_adaptive_counts_are_drawn_and_told(make_report, tmp_path):
    folder = tmp_path / "report"
    report = make_report(folder, sample_counts={"crops <a>": (24, 24, 48)})
    text = write_report(folder, report).read_text()
    assert "crops &lt;a&gt;</th><td>3</td><td>32.0</td><td>24</td><td>48</td>" in text
    for theme in ("light", "dark"):
        assert f"figures/samples.{theme}.svg" in text
        assert (folder / "figures" / f"samples.{theme}.svg").is_file()
    plain = write_report(tmp_path / "plain", make_report(tmp_path / "plain")).read_text()
    assert 'id="samples"' not in plain
