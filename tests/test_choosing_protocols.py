"""Which protocols a name asks for, and which names, datasets and settings are refused."""

import pytest

from fas_jax.base.errors import UserError
from fas_jax.base.record import Video
from fas_jax.base.settings import Evaluation
from fas_jax.protocols.assignment import assign, assign_all
from fas_jax.protocols.names import choose_protocols, fold_group, fold_names, used_preset
from tests.populations import population


def at_hand(*datasets: str) -> list[Video]:
    return [Video("a.avi", name, "1", "train", 1, "bonafide", "bonafide", "", "") for name in datasets]


OFFICIAL = at_hand(*"OCIM")


def names(*wanted: str, videos: list[Video] = OFFICIAL, preset: str = "strict") -> list[str]:
    return [each.name for each in choose_protocols(Evaluation(preset=preset, protocols=wanted), videos)]


def test_names_choose_protocols() -> None:
    assert names() == ["OCI_to_M", "OMI_to_C", "OCM_to_I", "ICM_to_O"]
    assert names("limited-source") == ["MI_to_C", "MI_to_O"]
    assert names("intra-O-3") == [f"intra-O-3_{k}" for k in range(1, 7)]
    assert len(names("intra-O")) == 14
    assert len(names("intra-I-all")) == len(names("intra-C-all")) == 7
    assert names("intra-O-1", "intra-M") == ["intra-O-1", "intra-M"]
    assert names("C_to_M", "OC_to_I") == ["C_to_M", "OC_to_I"]
    assert names("leave-one-out", "deploy") == ["OMI_to_C", "OCM_to_I", "OCI_to_M", "ICM_to_O", "deploy"]
    (own,) = choose_protocols(Evaluation(protocols=("ours+O_to_theirs",)), at_hand("ours", "O", "theirs"))
    assert (own.sources, own.target) == (("ours", "O"), "theirs")


def test_names_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="run them apart"):
        names("intra-M", "C_to_M")
    with pytest.raises(UserError, match="twice"):
        names("limited-source", "MI_to_C")
    with pytest.raises(UserError, match="did you mean 'intra-O-3'"):
        names("intra-O3")
    with pytest.raises(UserError, match="did you mean 'kfold-mine-5'"):
        names("kfold-mein-5", videos=at_hand("mine"))
    with pytest.raises(UserError, match="needs dataset 'X'"):
        names("OX_to_M")
    with pytest.raises(UserError, match="needs dataset 'M'"):
        names("intra-M", videos=at_hand("O", "C"))
    for preset in ("official", "deploy"):
        with pytest.raises(UserError, match=f"preset '{preset}' is for"):
            names(preset=preset)
        with pytest.raises(UserError, match=f"preset '{preset}' is for"):
            names("C_to_M", preset=preset)
    with pytest.raises(UserError, match=r"can mean several: within O-1, within O-1; rename"):
        names("intra-O-1", videos=population(**{"O": (2, 0, 2), "O-1": (2, 0, 2)}))


def test_folds_have_a_group() -> None:
    assert fold_group("intra-O-4_6") == fold_group("intra-synth-O-4_6").replace("synth-", "") == "intra-O-4"
    assert fold_group("kfold-my-set-5-3_2") == "kfold-my-set-5-3"
    assert fold_names("kfold-A-2") == ("kfold-A-2_1", "kfold-A-2_2")
    for name in ("intra-O-1", "intra-O-4_7", "kfold-A-3_4", "kfold-A-3_0", "kfold-A-3", "A_to_B", "loso-A-print"):
        assert fold_group(name) is None


def test_the_preset_that_reports_name() -> None:
    for name in ("intra-M", "kfold-A-5", "loso-A"):
        assert used_preset(Evaluation(protocols=(name,))) == "official"
    assert used_preset(Evaluation(protocols=("deploy",))) == "deploy"
    assert used_preset(Evaluation(protocols=("deploy", "leave-one-out"))) == "strict"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Evaluation(validation_fraction=0.0), "validation_fraction must lie between 0 and 1, not 0"),
        (Evaluation(validation_fraction=1.0), "validation_fraction must lie between 0 and 1, not 1"),
        (Evaluation(validation_fraction=float("nan")), "validation_fraction"),
        (Evaluation(targets=()), "targets is empty"),
        (Evaluation(targets=("M", "")), "targets has an empty name"),
        (Evaluation(protocols=("",)), "protocols has an empty name"),
        (Evaluation(preset="strikt"), "did you mean 'strict'"),
        (Evaluation(shared_subjects=("O",)), "as in A=B"),
        (Evaluation(shared_subjects=("O=O",)), "as in A=B"),
        (Evaluation(shared_subjects=("O=",)), "as in A=B"),
        (Evaluation(shared_subjects=("O=X",)), "unknown dataset in evaluation.shared_subjects 'X'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: Evaluation, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_protocols(settings, OFFICIAL)


def test_no_dataset_and_no_seed_are_refused() -> None:
    with pytest.raises(UserError, match="no dataset is at hand"):
        choose_protocols(Evaluation(), [])
    with pytest.raises(UserError, match="seeds is empty"):
        assign_all(Evaluation(), (), OFFICIAL)


SIZES = {"O": (4, 0, 2), "C": (4, 0, 2)}
BOTH = [*population("synth-", **SIZES), *population(mine=(4, 0, 2))]


def test_rendered_to_real_is_allowed_where_it_is_asked_for() -> None:
    (protocol,) = choose_protocols(Evaluation(protocols=("synth-O+synth-C_to_mine",)), BOTH)
    assert protocol.name == "synth-O+synth-C_to_mine"
    assert protocol.display == "synth-O&synth-C to mine"
    assert protocol.rendered == ("synth-O", "synth-C")
    found = assign(protocol, BOTH, 0.2, 0)
    assert {BOTH[row].dataset for row in [*found.train, *found.validation]} == {"synth-O", "synth-C"}
    assert {BOTH[row].dataset for row in found.test} == {"mine"}


def test_a_plain_name_beside_rendered_data_is_exact() -> None:
    """`O` is the real one wherever rendered ones are named by `synth-`, though a `synth-O` is there as well."""
    videos = [*population(**SIZES), *population("synth-", **SIZES), *population(M=(4, 0, 2))]
    wanted = ("synth-O+M_to_C", "OM_to_C", "synth-O_to_C")
    mixed, real, alone = choose_protocols(Evaluation(protocols=wanted), videos)
    datasets = [
        {videos[row].dataset for part in ("train", "validation", "test") for row in getattr(found, part)}
        for found in (assign(each, videos, 0.2, 0) for each in (mixed, real, alone))
    ]
    assert datasets == [{"synth-O", "M", "C"}, {"O", "M", "C"}, {"synth-O", "C"}]
    assert [each.rendered for each in (mixed, real, alone)] == [("synth-O",), (), ("synth-O",)]
    assert names("intra-synth-M", "kfold-synth-M-2", videos=population("synth-", M=(3, 0, 3))) == [
        "intra-synth-M", "kfold-synth-M-2_1", "kfold-synth-M-2_2",
    ]  # fmt: skip


def test_plain_names_with_both_kinds_at_hand_are_refused_and_exact_ones_offered() -> None:
    both = [*BOTH, *population(C=(4, 0, 2))]
    with pytest.raises(UserError, match=r"needs dataset 'O'.*as in synth-O\+synth-C_to_mine"):
        names("O+C_to_mine", videos=BOTH)
    with pytest.raises(UserError, match=r"names none of them.*as in synth-C_to_mine"):
        names("C_to_mine", videos=both)
    with pytest.raises(UserError, match=r"beside real ones.*as in synth-C\+synth-O_to_mine"):
        choose_protocols(Evaluation(targets=("mine",)), BOTH)
    for name in ("leave-one-out", "deploy"):
        with pytest.raises(UserError, match="cannot be mixed"):
            names(name, videos=BOTH)


def test_rendered_datasets_alone_need_no_prefix() -> None:
    rendered = population("synth-", **SIZES)
    (protocol,) = choose_protocols(Evaluation(targets=("C",)), rendered)
    assert (protocol.name, protocol.sources, protocol.rendered) == ("O_to_C", ("O",), ())
    assert names("intra-O-1", "kfold-C-2", videos=rendered) == ["intra-O-1", "kfold-C-2_1", "kfold-C-2_2"]
    (partly,) = choose_protocols(Evaluation(protocols=("synth-O_to_C",)), rendered)
    assert {rendered[row].dataset for row in assign(partly, rendered, 0.2, 0).test} == {"synth-C"}
    # Beside real datasets it is no longer a name for the rendered one.
    with pytest.raises(UserError, match="no videos of dataset 'C'"):
        assign(partly, BOTH, 0.2, 0)
