"""Random domains: what they are a function of, what is shifted and how far, and the tree that is rendered of one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fas_jax.base.errors import UserError
from fas_jax.base.settings import Synthesis
from fas_jax.datasets.manifest import read_manifest
from fas_jax.synthetic import render_domain
from fas_jax.synthetic.face import draw_appearance
from fas_jax.synthetic.plan import frame_count, frame_size
from fas_jax.synthetic.recording import record
from fas_jax.synthetic.room import Relighting, draw_light
from fas_jax.synthetic.shifts import (
    FACTORS,
    KINDS,
    MANIFEST,
    domain_conditions,
    domain_videos,
    source_domain,
    target_domain,
)

TINY = Synthesis(subjects=2, videos_per_subject=2, frames=2, workers=1)
PARAMETERS = [(factor, name) for factor, known in FACTORS.items() for name in known]


def parameter(factor, name):
    return FACTORS[factor][name]


def reference():
    return {f"{factor}.{name}": parameter(factor, name).centre for factor, name in PARAMETERS}


@given(seed=st.integers(0, 1000), number=st.integers(0, 40))
def test_a_target_is_a_function_of_seed_and_number(seed, number):
    one = target_domain(seed, number, (0.5, 2.0))
    target_domain(seed, number + 1, (0.5, 2.0))
    assert target_domain(seed, number, (0.5, 2.0)) == one
    assert target_domain(seed + 1, number, (0.5, 2.0)).values != one.values
    assert target_domain(seed, number + len(KINDS), (0.5, 2.0)).values != one.values


@given(seed=st.integers(0, 1000), number=st.integers(0, 40))
def test_a_target_shifts_its_factor_alone(seed, number):
    domain = target_domain(seed, number, (0.5, 2.0))
    assert domain.kind == KINDS[number % 4]
    assert domain.name == f"{domain.kind}-{number:02d}"
    moved = {name.split(".")[0] for name, value in domain.values.items() if value != reference()[name]}
    assert moved == (set(FACTORS) if domain.kind == "all" else {domain.kind})


@given(seed=st.integers(0, 1000), number=st.integers(0, 40), size=st.floats(0.05, 5))
def test_the_size_is_the_mean_square_of_the_changes_of_every_shifted_factor(seed, number, size):
    domain = target_domain(seed, number, (size, size))
    assert domain.size <= size * (1 + 1e-6)
    inside = all(
        parameter(*name.split(".")).low < value < parameter(*name.split(".")).high
        for name, value in domain.values.items()
    )
    if inside:
        assert domain.size == pytest.approx(size)
        for factor in FACTORS if domain.kind == "all" else (domain.kind,):
            squares = []
            for name, known in FACTORS[factor].items():
                value = domain.values[f"{factor}.{name}"]
                difference = math.log(value) - math.log(known.centre) if known.ratio else value - known.centre
                squares.append((difference / known.unit) ** 2)
            assert math.sqrt(sum(squares) / len(squares)) == pytest.approx(size)


def test_sizes_of_targets_cover_the_range():
    sizes = [target_domain(0, number, (0.0, 1.0)).size for number in range(200)]
    assert min(sizes) < 0.05
    assert max(sizes) > 0.95
    assert np.mean(sizes) == pytest.approx(0.5, abs=0.08)


def test_sources_shift_everything_and_differ():
    sources = [source_domain(0, number, 0.7) for number in range(4)]
    assert len({tuple(each.values.values()) for each in sources}) == 4
    assert all(each.size == pytest.approx(0.7) for each in sources)
    assert source_domain(0, 0, 0.0).values == reference()


@pytest.mark.parametrize(("factor", "name"), PARAMETERS)
@given(change=st.floats(-9, 9))
def test_a_parameter_stays_in_its_range_and_its_change_can_be_read_back(factor, name, change):
    own = parameter(factor, name)
    value = own.at(change)
    assert own.low <= value <= own.high
    assert own.at(0.0) == own.centre
    if own.low < value < own.high:
        assert own.change(value) == pytest.approx(change, abs=1e-6)


def test_a_weaker_light_raises_the_noise_of_the_camera():
    domain = source_domain(0, 0, 0.0)
    video = domain_videos(domain, TINY, "test")[0]
    bright = domain_conditions(domain, 0, video)
    domain.values["light.level"] = 0.5
    dim = domain_conditions(domain, 0, video)
    assert dim.camera.shot_noise == 2 * bright.camera.shot_noise
    assert dim.camera.read_noise == 2 * bright.camera.read_noise
    assert dim.relighting.level == 0.5


@given(seed=st.integers(0, 1000), adverse=st.booleans())
def test_lamps_without_a_difference_are_as_they_were(seed, adverse):
    light = draw_light(np.random.default_rng(seed), adverse)
    same = Relighting()(light)
    for name in ("ambient", "key", "direction"):
        np.testing.assert_allclose(getattr(same, name), getattr(light, name), rtol=1e-6)
    brighter = Relighting(level=2.0, hardness=1.5, warmth=1.0)(light)
    np.testing.assert_allclose(brighter.key, light.key * 3 * np.exp([0.22, 0, -0.3]), rtol=1e-5)
    np.testing.assert_allclose(brighter.ambient, light.ambient / 1.5 * 2 * np.exp([0.1, 0, -0.14]), rtol=1e-5)
    aside = Relighting(sideways=0.5)(light).direction
    assert np.linalg.norm(aside) == pytest.approx(1, abs=1e-6)
    assert aside[0] / aside[2] > light.direction[0] / light.direction[2]


@given(subjects=st.integers(2, 9), videos=st.integers(2, 9))
def test_half_of_a_subjects_videos_are_bona_fide(subjects, videos):
    planned = domain_videos(target_domain(0, 3, (1, 1)), Synthesis(subjects, videos, 4), "test")
    assert len(planned) == len({video.path for video in planned}) == subjects * videos
    for subject in range(subjects):
        own = [video for video in planned if video.subject == subject]
        assert sum(video.bona_fide for video in own) == videos // 2
        prints, replays = (sum(video.pai == pai for video in own) for pai in ("print", "replay"))
        assert abs(prints - replays) <= 1
    assert {video.pai for video in planned} == {"bonafide", "print", "replay"}


@pytest.mark.parametrize("settings", [Synthesis(1, 2, 2), Synthesis(2, 1, 2), Synthesis(2, 2, 0)])
def test_a_domain_without_both_classes_or_a_length_is_refused(settings):
    with pytest.raises(UserError, match="a random domain needs"):
        domain_videos(source_domain(0, 0, 1.0), settings, "train")


def test_no_two_domains_share_a_subject():
    names = [target_domain(0, number, (1, 1)).name for number in range(8)] + ["source-0", "source-1"]
    faces = [draw_appearance(0, name, f"test/{subject}") for name in names for subject in range(3)]
    assert len({str(vars(face)) for face in faces}) == len(faces)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    domain = target_domain(0, 3, (1.5, 1.5))
    return domain, render_domain(domain, tmp_path_factory.mktemp("random") / "tree", TINY, "test")


def test_the_manifest_lists_what_was_rendered(tree):
    domain, root = tree
    (listing,) = read_manifest(root / MANIFEST)
    assert listing.dataset == domain.name
    planned = {video.path: video for video in domain_videos(domain, TINY, "test")}
    assert {video.path for video in listing.videos} == set(planned)
    for video in listing.videos:
        wanted = planned[video.path]
        assert (video.label, video.pai, video.subject) == (wanted.bona_fide, wanted.pai, str(wanted.subject))
        assert video.split == "test"


def test_a_finished_domain_is_left_alone_and_another_one_refused(tree):
    domain, root = tree
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*.mp4")}
    assert render_domain(domain, root, TINY, "test") == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.mp4")} == times
    with pytest.raises(UserError, match="domain was"):
        render_domain(target_domain(1, 3, (1.5, 1.5)), root, TINY, "test")


def test_frames_have_the_size_of_the_domains_camera_and_follow_its_conditions():
    domain = target_domain(0, 2, (2.0, 2.0))
    video = domain_videos(domain, TINY, "test")[0]
    frames = np.stack(list(record(video, TINY, None, domain_conditions(domain, 0, video)).frames))
    width, height = frame_size(video, TINY.scale)
    assert height == round(domain.values["camera.side"] / 2) * 2
    assert frames.shape == (frame_count(video, TINY), height, width, 3)
    domain.values["camera.saturation"] = 0.3
    grey = np.stack(list(record(video, TINY, None, domain_conditions(domain, 0, video)).frames))
    assert np.ptp(grey, axis=-1).mean() < 0.6 * np.ptp(frames, axis=-1).mean()
