"""Where prompts come from, in which order, and what is refused with file and line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.datasets.dataset import Task
from structure.pipeline.suites import prompt_sources
from structure.pipeline.suites.prompt_set import PromptSet, load_prompt_set, resolve_prompts
from structure.pipeline.suites.prompts import Prompts
from structure.pipeline.suites.suite import load_suite
from structure.store.errors import StructureError

OWN = Task(classes=("cat", "dog"), templates=("my {c}",), source="/data/wds_pets/classnames.txt")


@pytest.fixture
def benchmark_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in for the package clip-benchmark's data files: pets and mnist."""
    data = tmp_path / "clip_benchmark" / "datasets"
    data.mkdir(parents=True)
    (data / "en_classnames.json").write_text(json.dumps({"mnist": ["0", "1"], "pets": ["a cat", "a dog"]}))
    templates = {"mnist": ['the number: "{c}".'], "pets": ["{c}, a type of pet."]}
    (data / "en_zeroshot_classification_templates.json").write_text(json.dumps(templates))
    find, version = prompt_sources.find_spec, prompt_sources.version

    def found(name: str) -> object:
        return (
            SimpleNamespace(submodule_search_locations=[str(data.parent)]) if name == "clip_benchmark" else find(name)
        )

    monkeypatch.setattr(prompt_sources, "find_spec", found)
    monkeypatch.setattr(prompt_sources, "version", lambda name: "1.6.2" if name == "clip-benchmark" else version(name))
    prompt_sources.benchmark_lists.cache_clear()
    yield
    prompt_sources.benchmark_lists.cache_clear()


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_datasets_own_files_come_first(benchmark_package):
    for name in ("clip-benchmark", "plain"):
        found = resolve_prompts(load_prompt_set(name), dataset="wds/vtab/pets", own=OWN)
        assert found.texts() == ["my cat", "my dog"]
        assert found.classes_source == found.templates_source == OWN.source


def test_the_package_fills_what_the_dataset_lacks(benchmark_package):
    clip = load_prompt_set("clip-benchmark")
    names_only = Task(classes=("zero", "one"), source="folder")
    found = resolve_prompts(clip, dataset="wds/mnist", own=names_only)
    assert found.texts() == ['the number: "zero".', 'the number: "one".']
    assert found.provenance()["templates_source"] == "clip-benchmark 1.6.2 en: mnist"
    found = resolve_prompts(clip, dataset="wds/vtab/pets")
    assert found.classes == ("a cat", "a dog")


def test_imagenet_comes_from_open_clip_and_serves_as_default():
    clip = load_prompt_set("clip-benchmark")
    found = resolve_prompts(clip, dataset="wds/imagenetv2")
    assert (len(found.classes), len(found.templates)) == (1000, 80)
    assert found.classes[0] == "tench"
    assert found.templates[0] == "a bad photo of a {c}."
    assert found.classes_source.startswith("open_clip_torch ")
    unheard = resolve_prompts(clip, dataset="flowers5", own=Task(classes=("rose", "tulip"), source="folder"))
    assert unheard.templates == found.templates
    assert "imagenet1k's, as default" in unheard.templates_source


def test_imagenet_a_does_not_get_the_thousand_names():
    with pytest.raises(StructureError, match=r"No class names for wds/imagenet-a: asked .*--prompts FILE"):
        resolve_prompts(load_prompt_set("clip-benchmark"), dataset="wds/imagenet-a")


def test_the_papers_templates_replace_the_datasets():
    paper = load_prompt_set("structure-paper")
    for dataset, count in (
        ("wds/vtab/resisc45", 18),
        ("wds/ucf101", 48),
        ("wds/kinetics700", 28),
        ("wds/vtab/pcam", 1),
    ):
        found = resolve_prompts(paper, dataset=dataset, own=OWN)
        assert found.classes == OWN.classes
        assert len(found.templates) == count
        assert "structure-paper" in found.templates_source
    assert resolve_prompts(paper, dataset="wds/vtab/pets", own=OWN).templates == OWN.templates


def test_plain_has_one_template_for_what_brings_none():
    found = resolve_prompts(load_prompt_set("plain"), dataset="x", own=Task(("a", "b"), source="folder"))
    assert found.texts() == ["a photo of a a.", "a photo of a b."]
    assert found.prompt_set == "plain@1"


def test_a_file_of_ones_own_wins_and_is_recorded(tmp_path):
    text = "name: mine\nversion: 3\ndatasets:\n  pets:\n    names: {dog: rex, cat: tom}\n    templates: ['{c}!']\n"
    found = resolve_prompts(load_prompt_set(written(tmp_path, text)), dataset="wds/vtab/pets", own=OWN)
    assert found.texts() == ["tom!", "rex!"]
    assert found.prompt_set == "mine@3"
    assert found.classes_source.endswith("mine.yaml: pets")


OF_FOUR = Task(classes=("forest", "river bank", "Annual_Crop", "sea-lake"), templates=("{c}",), source="copy")


@pytest.mark.parametrize(
    "entry",
    [
        "classes: [Sea Lake, forest, annual crop, River_Bank]",  # another order, another spelling
        "names: {river bank: River_Bank, forest: forest, sea-lake: Sea Lake, Annual_Crop: annual crop}",
    ],
)
def test_classes_of_a_file_are_bound_by_name(tmp_path: Path, entry: str) -> None:
    mine = load_prompt_set(written(tmp_path, f"name: mine\nversion: 1\ndatasets:\n  land:\n    {entry}\n"))
    found = resolve_prompts(mine, dataset="land", own=OF_FOUR)
    assert found.classes == ("forest", "River_Bank", "annual crop", "Sea Lake")
    assert found.texts() == list(found.classes)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "classes: [wood, shore, field, water]",
            r"4 of 4 classes of land are not named .* 'forest'.*names: {",
        ),
        ("classes: [forest, river bank, annual crop, water]", r"1 of 4 classes .* first 'sea-lake'"),
        ("classes: [forest, Forest, annual crop, sea lake]", r"1 of 4 classes"),
        (
            "names: {forest: wood, river bank: shore, sea-lake: water}",
            r"no words for 1 of 4 classes, first 'Annual_Crop'",
        ),
        (
            "names: {forest: w, river bank: s, sea-lake: l, Annual_Crop: f, wood: w2}",
            r"words for 'wood', which land does not have. The classes are: forest, river bank",
        ),
        ("names: {forest: w}\n    classes: [a, b, c, d]", r"line 5: classes and names at once"),
    ],
)
def test_classes_that_cannot_be_bound_are_refused(tmp_path: Path, entry: str, said: str) -> None:
    text = f"name: mine\nversion: 1\ndatasets:\n  land:\n    {entry}\n"
    with pytest.raises(StructureError, match=said):
        resolve_prompts(load_prompt_set(written(tmp_path, text)), dataset="land", own=OF_FOUR)


def test_the_remedy_of_the_refusal_works(tmp_path: Path) -> None:
    words = [f"word {number}: 'x'" for number in range(12)]
    own = Task(classes=tuple(f"n{number}, it's" for number in range(12)), templates=("{c}",), source="copy")
    text = f"name: mine\nversion: 1\ndatasets:\n  pets:\n    classes: {json.dumps(words)}\n"
    with pytest.raises(StructureError) as refused:
        resolve_prompts(load_prompt_set(written(tmp_path, text)), dataset="pets", own=own)
    remedy = str(refused.value).partition("in place of classes: ")[2]
    mine = load_prompt_set(written(tmp_path, text.replace(f"classes: {json.dumps(words)}", remedy)))
    assert resolve_prompts(mine, dataset="pets", own=own).classes == tuple(words)


def test_a_published_list_in_words_of_its_own_keeps_its_order(benchmark_package):
    clip = load_prompt_set("clip-benchmark")
    first = replace(clip, order=("clip-benchmark", "dataset"))
    assert resolve_prompts(first, dataset="wds/vtab/pets", own=OWN).classes == ("a cat", "a dog")
    swapped = Task(classes=("a dog", "A_Cat"), templates=OWN.templates, source="copy")
    assert resolve_prompts(first, dataset="wds/vtab/pets", own=swapped).classes == ("a dog", "a cat")
    part = Task(classes=("a dog", "fox"), templates=OWN.templates, source="copy")
    with pytest.raises(StructureError, match="1 of 2 classes"):
        resolve_prompts(first, dataset="wds/vtab/pets", own=part)


def test_labels_of_one_dataset_have_their_own_entries(tmp_path):
    text = "name: mine\nversion: 1\ndatasets:\n  scenes/shape:\n    templates: ['a {c} shape']\n"
    mine = load_prompt_set(written(tmp_path, text))
    assert resolve_prompts(mine, dataset="scenes", task="shape", own=OWN).templates == ("a {c} shape",)
    assert resolve_prompts(mine, dataset="scenes", task="colour", own=OWN).templates == OWN.templates


def test_names_from_elsewhere_must_be_as_many_as_the_labels(tmp_path):
    text = "name: mine\nversion: 1\ndatasets:\n  pets:\n    classes: [a, b, c]\n"
    mine = load_prompt_set(written(tmp_path, text))
    with pytest.raises(StructureError, match=r"labels for 2 classes but .* names 3"):
        resolve_prompts(mine, dataset="pets", own=OWN)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "name: m\nversion: 1\ntemplates:\n  - 'a {c}'\n  - 'a photo of {}'\n",
            r"line 5: 'a photo of {}' has no {c}.*Write {c} for {}",
        ),
        (
            "name: m\nversion: 1\ndatasets:\n  x:\n    classes:\n      - cat\n      - dog\n      - cat\n",
            r"line 8: 'cat' stands twice, first on line 6",
        ),
        (
            "name: m\nversion: 1\ndatasets:\n  x:\n    clases: [a, b]\n",
            r"line 5: unknown key 'clases'. Did you mean classes",
        ),
        ("name: m\nversion: 1\ntemplate: ['{c}']\n", r"line 3: unknown key 'template'. Did you mean templates"),
        ("name: m\nversion: 1\norder: [dataset, hub]\n", r"line 3: Unknown order of prompt set 'hub'"),
        (
            "name: m\nversion: 1\ndatasets:\n  x:\n    classes: [yes, no]\n",
            r"line 5: expected a string, found True. Put it in quotes",
        ),
        ("name: m\nversion: 1\ndatasets:\n  x: {}\n  x: {}\n", r"line 5: 'x' stands twice, first on line 4"),
        ("name: m\nversion: one\n", r"line 2: 'version' is 'one'"),
        (
            "name: m\nversion: 1\ndatasets:\n  x:\n    classes: [cat, dog]\n    descriptions:\n      cta: ['a cat']\n",
            r"line 7: 'cta' is not one of the classes of x",
        ),
        (
            "name: m\nversion: 1\ndatasets:\n  x:\n    templates: ['{c}']\n    descriptions:\n      cat: ['a cat']\n",
            r"line 6: templates and descriptions at once",
        ),
        ("name: [m\n", r"not YAML"),
        ("- a\n", r"line 1: expected keys with values"),
        ("", r"line 1: expected keys with values"),
    ],
)
def test_mistakes_in_a_file_are_named_with_their_line(tmp_path, text, words):
    with pytest.raises(StructureError, match=f"(?s)mine.yaml.*{words}"):
        load_prompt_set(written(tmp_path, text))


def test_a_set_or_file_that_is_not_there():
    with pytest.raises(StructureError, match=r"Unknown prompt set 'clip_benchmark'. Did you mean clip-benchmark"):
        load_prompt_set("clip_benchmark")
    with pytest.raises(StructureError, match=r"no file nowhere\.yaml"):
        load_prompt_set("nowhere.yaml")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            Task(("cat", "dog", "cat"), ("{c}",), "cats/classnames.txt"),
            r"cats/classnames.txt.*'cat' stands on lines 1 and 3",
        ),
        (Task(("cat",), ("{c}",), "cats/classnames.txt"), r"1 class name\(s\).*every answer is right"),
        (Task(("cat", "dog"), ("{c}", "a photo"), "t.txt"), r"t.txt, template 2: 'a photo' has no {c}"),
    ],
)
def test_mistakes_in_the_datasets_own_words(own, words):
    with pytest.raises(StructureError, match=words):
        resolve_prompts(load_prompt_set("plain"), dataset="cats", own=own)


def test_the_two_names_that_imagenet_repeats_are_allowed_there_only():
    own = Task(("missile", "cat", "missile"), ("{c}",), "classnames.txt")
    plain = load_prompt_set("plain")
    assert resolve_prompts(plain, dataset="wds/imagenet1k", own=own).classes == own.classes
    with pytest.raises(StructureError, match="'missile' stands on lines 1 and 3"):
        resolve_prompts(plain, dataset="wds/mnist", own=own)


WORDS = st.lists(st.text("ab{}", min_size=1, max_size=4), min_size=2, max_size=4, unique=True)


@given(WORDS, WORDS)
def test_equal_digests_mean_equal_questions(some, others):
    first = Prompts("s@1", tuple(some), ("a {c}",), "x", "y")
    second = Prompts("t@1", tuple(others), ("a {c}",), "z", "z")
    assert (first.digest == second.digest) == (some == others)
    assert first.texts() == [f"a {name}" for name in some]


def test_the_digest_sees_order_and_templates():
    base = Prompts("s@1", ("a", "b"), ("{c}", "x {c}"), "", "")
    assert base.digest != Prompts("s@1", ("b", "a"), ("{c}", "x {c}"), "", "").digest
    assert base.digest != Prompts("s@1", ("a", "b"), ("x {c}", "{c}"), "", "").digest


def test_prompts_and_suites_need_no_torch():
    code = (
        "import sys; from structure.pipeline.suites.prompt_set import load_prompt_set, resolve_prompts;"
        "from structure.pipeline.suites.published import published_numbers;"
        "from structure.pipeline.suites.suite import load_suite;"
        "s = load_prompt_set('clip-benchmark'); resolve_prompts(s, dataset='wds/imagenet1k');"
        "load_suite('clip-benchmark'); published_numbers('stl10', 'acc1');"
        "sys.exit(bool({'torch', 'open_clip', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PAPER = {
    **dict.fromkeys(("food101", "vtab/pets", "vtab/flowers", "mnist", "vtab/kitti_closest_vehicle_distance"), 1),
    **dict.fromkeys(("vtab/pcam",), 1),
    **dict.fromkeys(("sun397", "fgvc_aircraft", "stl10"), 2),
    **dict.fromkeys(("vtab/eurosat", "gtsrb"), 3),
    "country211": 5,
    "fer2013": 6,
    **dict.fromkeys(("cars", "vtab/dtd"), 8),
    **dict.fromkeys(("vtab/cifar10", "vtab/cifar100", "vtab/resisc45"), 18),
    "kinetics700": 28,
    "vtab/caltech101": 34,
    "ucf101": 48,
    "imagenet1k": 80,
}
"""How many templates the paper names for each of its 22 sets (appendix)."""


def test_the_papers_22_sets_have_as_many_templates_as_it_names():
    pytest.importorskip("clip_benchmark", reason="the package clip-benchmark is not installed")
    paper = load_prompt_set("structure-paper")
    tasks = load_suite("structure-paper").tasks
    names = {task.name.removeprefix("wds/") for task in tasks if task.kind == "zeroshot_classification"}
    assert names == set(PAPER)
    for name, count in PAPER.items():
        own = None if name == "imagenet1k" else Task(classes=OWN.classes, source="a copy without templates")
        found = resolve_prompts(paper, dataset=f"wds/{name}", own=own)
        assert len(found.templates) == count, f"{name}: {found.templates_source}"


def test_classes_in_another_language_come_from_the_package_alone():
    pytest.importorskip("clip_benchmark", reason="the package clip-benchmark is not installed")
    clip = load_prompt_set("clip-benchmark")
    italian = resolve_prompts(clip, dataset="wds/imagenet1k", language="it")
    assert (len(italian.classes), italian.classes[0]) != (1000, "tench")
    assert "it: imagenet1k" in italian.classes_source
    with pytest.raises(StructureError, match="asked clip-benchmark of prompt set clip-benchmark@1 in language xx"):
        resolve_prompts(clip, dataset="wds/imagenet1k", language="xx")


def test_a_class_can_have_texts_of_its_own(tmp_path):
    text = (
        "name: mine\nversion: 1\ndatasets:\n  pets:\n    descriptions:\n"
        "      dog: ['Barks at {c}.']\n      cat: ['It purrs.', 'It sleeps.']\n"
    )
    found = resolve_prompts(load_prompt_set(written(tmp_path, text)), dataset="wds/vtab/pets", own=OWN)
    assert found.texts() == ["It purrs.", "It sleeps.", "Barks at {c}."]
    assert found.counts() == [2, 1]
    assert found.provenance()["descriptions"] == 3
    plain = resolve_prompts(load_prompt_set("plain"), dataset="pets", own=OWN)
    assert found.digest != plain.digest
    with pytest.raises(StructureError, match=r"mine.yaml: pets: no description of 1 of 2 classes, first 'fox'"):
        resolve_prompts(
            load_prompt_set(written(tmp_path, text)), dataset="pets", own=Task(("cat", "fox"), source="folder")
        )


def test_cupl_is_what_the_package_has_and_only_for_imagenets_classes():
    pytest.importorskip("clip_benchmark", reason="the package clip-benchmark is not installed")
    cupl = load_prompt_set("cupl")
    found = resolve_prompts(cupl, dataset="wds/imagenetv2")
    packaged = Path(prompt_sources._folder("clip_benchmark")) / "datasets" / "cupl_prompts.json"
    theirs = json.loads(packaged.read_text())["imagenet1k"]
    assert found.texts() == [text for name in found.classes for text in theirs[name]]
    some = resolve(cupl, "wds/imagenet-a", Task(("goldfish", "great white shark"), ("{c}",), "folder"))
    assert some.counts() == [len(theirs["goldfish"]), len(theirs["great white shark"])]
    assert resolve(cupl, "wds/vtab/pets", OWN).templates == OWN.templates


def resolve(prompt_set: PromptSet, dataset: str, own: Task) -> Prompts:
    return resolve_prompts(prompt_set, dataset=dataset, own=own)
