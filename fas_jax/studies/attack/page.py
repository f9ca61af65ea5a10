"""What an attack and its detection came to: a table and a figure, for a run's report or a folder of their own."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from fas_jax.base.files import plain_name, write_text
from fas_jax.base.outputs import output_folder
from fas_jax.reporting.extra_figures import write_extra_figure
from fas_jax.reporting.extra_tables import ExtraTable, write_extra_table
from fas_jax.reporting.figures import new_figure, write_figure
from fas_jax.reporting.grid import Grid, markdown, quoted, to_csv
from fas_jax.reporting.palette import style
from fas_jax.studies.attack.bench import FLAGGED, Measured

NAMES = {"fgsm": "FGSM", "pgd": "PGD", "adaptive": "PGD that knows the defence"}
_HEADER = (
    "perturbed", "attack", "grey levels", "clips", "succeeded %", "and unnoticed %", "AUC %", "entropy, clean",
    "entropy, perturbed",
)  # fmt: skip


def text_of(guided: bool) -> str:
    """What was done, and what it does not say."""
    response = "guided back-propagation" if guided else "the gradient, because the network has no rectifiers"
    return (
        "Frames as the detector reads them, after decoding and cropping, are changed by at most so many of 255 grey "
        "levels and rounded to whole ones before they are scored; nothing is printed, shown or encoded again. Clips "
        "that the detector decides rightly as they are. succeeded: the decision is the wrong one. unnoticed: it also "
        f"passes the defence, which refuses a clip whose local spatial entropy of {response} is above that of "
        f"{1 - FLAGGED:.0%} of these clips as they are. AUC: chance that a perturbed clip has a higher entropy than a "
        "clip as it is; 50 % is chance, and below it the entropy falls. Entropies in bits, means over clips."
    )


def grid_of(measured: Sequence[Measured]) -> Grid:
    """A row for each kind, strength and class of perturbed clips."""
    rows = [
        [
            "bona fide" if each.bona_fide else "attacks",
            NAMES[each.kind],
            str(each.strength),
            str(len(each.won)),
            *(f"{100 * value:.0f}" for value in (each.success, each.unnoticed, each.auc)),
            *(f"{values.mean():.3f}" for values in (each.clean, each.entropies)),
        ]
        for each in measured
    ]
    return Grid(_HEADER, rows)


def attack_figure(measured: Sequence[Measured]) -> Figure:
    """Success of attacks that are to be accepted against strength, and the ROC of their detection at the highest."""
    drawn = new_figure(8.6, 3.8)
    left, right = drawn.subplots(1, 2)
    own = [each for each in measured if not each.bona_fide]
    kinds = list(dict.fromkeys(each.kind for each in own))
    for kind in kinds:
        colour, _ = style(kind, kinds)
        line = [each for each in own if each.kind == kind]
        strengths = [each.strength for each in line]
        left.plot(strengths, [100 * each.success for each in line], "o-", color=colour, label=NAMES[kind], markersize=4)
        left.plot(strengths, [100 * each.unnoticed for each in line], "o--", color=colour, markersize=4)
        false, true = line[-1].roc()
        label = f"{NAMES[kind]}: AUC {100 * line[-1].auc:.0f} %"
        right.plot(100 * false, 100 * true, color=colour, label=label, drawstyle="steps-post")
    left.plot([], [], "--", color="#444444", label="and unnoticed")
    left.set(xlabel="grey levels of 255", ylabel="attacks accepted (%)", ylim=(-3, 103))
    right.plot([0, 100], [0, 100], color="#BBBBBB", linewidth=0.8)
    strongest = max(each.strength for each in own)
    right.set(xlabel="clean clips refused (%)", ylabel=f"perturbed clips refused at {strongest} (%)")
    for axes in (left, right):
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.legend(fontsize="x-small", frameon=False)
    return drawn


def join_report(run: Path, name: str, protocol: str, measured: Sequence[Measured], guided: bool) -> Path:
    """Leaves table and figure in a run's folder, for its next report; returns the figure's PNG."""
    title, place = f"Adversarial frames against {name}, {protocol}", plain_name(f"attack-{name}")
    write_extra_table(run, place, ExtraTable(title, text_of(guided), grid_of(measured)))
    return write_extra_figure(run, place, title, text_of(guided), attack_figure(measured))


def write_page(folder: Path, name: str, measured: Sequence[Measured], guided: bool, caveats: Sequence[str] = ()) -> str:
    """Writes `attack.md`, `attack.csv` and `attack.png`; gives the Markdown.

    Raises:
        UserError: The folder holds something else.
    """
    parts = [f"# Adversarial frames against {name}", *([quoted(caveats)] if caveats else []), text_of(guided)]
    text = "\n\n".join([*parts, markdown(grid_of(measured))])
    with output_folder(folder) as place:
        write_text(place / "attack.md", text + "\n")
        write_text(place / "attack.csv", to_csv(grid_of(measured)))
        write_figure(attack_figure(measured), place / "attack.png")
    return text
