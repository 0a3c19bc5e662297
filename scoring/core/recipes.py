"""Recipes: how members are trained, as a document that people write and Curator checks.

A recipe says which model is trained, by which loss, what is done with pairs by their flag or
strength (arXiv 2401.06080, section 2), and which further losses pull along (contrastive learning,
section 3.1; MetaRM, section 3.2). All treatments that a pair meets apply, the later over the
earlier. What a recipe leaves out has a default; what it does not know is refused by name.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from curator.lib import digests
from scoring.core.flags import AMBIGUOUS, CLEAR, FLIPPED, STRONG

FLAGS = (FLIPPED, AMBIGUOUS, CLEAR, STRONG)
LINEAR, HIDDEN, LORA, FULL = "linear", "hidden", "lora", "full"
KINDS = {
    LINEAR: "linear heads on a frozen backbone, solved exactly",
    HIDDEN: "heads with a hidden layer on a frozen backbone",
    LORA: "adapters on a whole model (LoRA)",
    FULL: "a whole model",
}
BRADLEY_TERRY, UNBIASED, ROBUST = "bradley-terry", "unbiased", "robust"
LOSSES = {
    BRADLEY_TERRY: "Bradley–Terry",
    UNBIASED: "unbiased under uniform flips (rDPO)",
    ROBUST: "robust (Dr. DPO)",
}
SIMCSE, SWAV, GOALS = "simcse", "swav", "goals"
METHODS = {SIMCSE: "SimCSE", SWAV: "SwAV", GOALS: "goal-conditioned (decoders)"}
PAIRS, DIFFERENCES = "pairs", "differences"
CALIBRATED, GRADE, STRENGTH = "calibrated", "grade", "strength"
LONGEST_NAME = 100
LONGEST_NOTE = 2000
MOST_TREATMENTS = 50
MOST_MEMBERS = 100
LARGEST_NUMBER = 1e300
LEAST_BETA = 0.01  # of the robust loss: below it, one pair alone would count
MOST_PROBLEMS = 20  # that are told at once


class BadRecipe(ValueError):
    """A recipe cannot be read or makes no sense. `problems` has a sentence for each reason, or for
    the first of very many."""

    def __init__(self, problems: Sequence[str]) -> None:
        told, more = list(problems[:MOST_PROBLEMS]), len(problems) - MOST_PROBLEMS
        self.problems = [*told, f"And {more:,} more."] if more > 0 else told
        super().__init__(" ".join(self.problems))


@dataclass(frozen=True)
class Model:
    """What is trained. `base` names a checkpoint, for `lora` and `full` only."""

    kind: str = LINEAR
    hidden: int = 64
    dropout: float = 0.05
    base: str = ""
    rank: int = 16
    max_length: int = 1024

    @property
    def is_head(self) -> bool:
        return self.kind in (LINEAR, HIDDEN)


@dataclass(frozen=True)
class Loss:
    """The loss of a pair. `noise` is e of the unbiased loss, `beta` of the robust one, `centring`
    the weight of (r_c + r_r)^2."""

    name: str = BRADLEY_TERRY
    noise: float = 0.1
    beta: float = 1.0
    centring: float = 0.0


@dataclass(frozen=True)
class When:
    """Which pairs a treatment is for: those that meet all that is said; every pair where nothing
    is."""

    flags: tuple[str, ...] = ()
    percentile: tuple[float, float] | None = None  # from, and below; 1 includes the top
    strength_below: float | None = None
    strength_from: float | None = None

    @property
    def is_everything(self) -> bool:
        return self == When()


@dataclass(frozen=True)
class Then:
    """What becomes of them. `margin` scales the strength that is asked for as a margin; `alpha`
    smooths the label; `calibrated` takes the run's probability for the label."""

    flip: bool = False
    drop: bool = False
    alpha: float | None = None
    calibrated: bool = False
    margin: float | None = None
    weight: float | None = None
    by_grade: bool = False


@dataclass(frozen=True)
class Treatment:
    when: When
    then: Then

    @property
    def needs_run(self) -> bool:
        return not self.when.is_everything or self.then.margin is not None or self.then.calibrated


@dataclass(frozen=True)
class Contrastive:
    """A loss on features beside the loss on rewards. The paper's weights: SimCSE 1; SwAV 0.5 with
    20 prototypes on differences, 0.1 with 50 on pairs."""

    method: str = SIMCSE
    on: str = PAIRS
    weight: float = 1.0
    temperature: float = 0.05
    prototypes: int = 20


@dataclass(frozen=True)
class Meta:
    """MetaRM: every step is taken where the scores of sampled responses are spread first. `step` is
    the length of that ascent, 0 for none."""

    step: float = 0.1
    prompts: int = 8  # a step
    responses: int = 4  # a prompt


@dataclass(frozen=True)
class Optimiser:
    """How a model that is not solved exactly is led downhill."""

    epochs: int = 10
    learning_rate: float = 1e-3
    batch: int = 64
    weight_decay: float = 0.1
    warm_up: float = 0.05  # of all steps
    # looks at what is held out without a lower loss there, after which to stop; 0: never. Heads are
    # looked at after each epoch, whole models about twenty times in all
    patience: int = 2


@dataclass(frozen=True)
class Recipe:
    """How members are trained."""

    name: str
    note: str = ""
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    treatments: tuple[Treatment, ...] = ()
    keeps_ties: bool = False
    contrastive: Contrastive | None = None
    meta: Meta | None = None
    optimiser: Optimiser = field(default_factory=Optimiser)

    @property
    def needs_run(self) -> bool:
        """Whether it can only be followed where pairs have been measured."""
        return any(treatment.needs_run for treatment in self.treatments)

    @property
    def needs_calibration(self) -> bool:
        return any(treatment.then.calibrated for treatment in self.treatments)

    @property
    def needs_grades(self) -> bool:
        return any(treatment.then.by_grade for treatment in self.treatments)

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that treatments name."""
        named = (flag for treatment in self.treatments for flag in treatment.when.flags)
        return tuple(dict.fromkeys(named))

    @property
    def is_plain(self) -> bool:
        """Whether it is what Curator does without a recipe."""
        return as_json(self) == as_json(Recipe(self.name, self.note))


def digest(recipe: Recipe) -> str:
    """Names what the recipe does, whatever it is called."""
    content = as_json(recipe)
    return digests.of_text(
        digests.canonical_json({k: v for k, v in content.items() if k not in ("name", "note")})
    )


# --- Reading and writing --------------------------------------------------------------------------

KEYS = (
    *("name", "note", "model", "loss", "treatments", "ties"),
    *("contrastive", "meta", "optimiser"),
)


def parse(written: object) -> Recipe:
    """The recipe that a person or program has written. Raises BadRecipe with all that is wrong."""
    reader = _Reader()
    top = reader.mapping(written, "A recipe")
    reader.known(top, KEYS, "A recipe")
    name = reader.text(top, "name", "The name", most=LONGEST_NAME, required=True)
    note = reader.text(top, "note", "The note", most=LONGEST_NOTE)
    model = reader.model(top.get("model", {}))
    loss = reader.loss(top.get("loss", {}))
    treatments = reader.treatments(top.get("treatments", []))
    ties = reader.choice(top, "ties", "`ties`", ("leave out", "half"), "leave out")
    contrastive = reader.contrastive(top.get("contrastive"))
    meta = reader.meta(top.get("meta"))
    optimiser = reader.optimiser(top.get("optimiser", {}), model)
    reader.together(model, loss, contrastive, meta)
    if ties == "half":
        reader.no_margin_for_all(treatments)
    if reader.problems:
        raise BadRecipe(reader.problems)
    return Recipe(
        name=name,
        note=note,
        model=model,
        loss=loss,
        treatments=treatments,
        keeps_ties=ties == "half",
        contrastive=contrastive,
        meta=meta,
        optimiser=optimiser,
    )


def as_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it would be written, with every choice said; `parse` reads it back."""
    written: dict[str, Any] = {"name": recipe.name}
    if recipe.note:
        written["note"] = recipe.note
    written["model"] = _model_as_json(recipe.model)
    written["loss"] = _loss_as_json(recipe.loss)
    written["treatments"] = [_treatment_as_json(treatment) for treatment in recipe.treatments]
    written["ties"] = "half" if recipe.keeps_ties else "leave out"
    if recipe.contrastive is not None:
        written["contrastive"] = asdict(recipe.contrastive)
    if recipe.meta is not None:
        written["meta"] = asdict(recipe.meta)
    if recipe.model.kind != LINEAR:
        written["optimiser"] = asdict(recipe.optimiser)
    return written


def _model_as_json(model: Model) -> dict[str, Any]:
    names = {
        LINEAR: (),
        HIDDEN: ("hidden", "dropout"),
        LORA: ("base", "rank", "dropout", "max_length"),
        FULL: ("base", "dropout", "max_length"),
    }[model.kind]
    return {"kind": model.kind, **{name: getattr(model, name) for name in names}}


def _loss_as_json(loss: Loss) -> dict[str, Any]:
    written: dict[str, Any] = {"name": loss.name}
    if loss.name == UNBIASED:
        written["noise"] = loss.noise
    if loss.name == ROBUST:
        written["beta"] = loss.beta
    if loss.centring:
        written["centring"] = loss.centring
    return written


def _treatment_as_json(treatment: Treatment) -> dict[str, Any]:
    when, then = treatment.when, treatment.then
    condition: dict[str, Any] = {}
    if when.flags:
        condition["flag"] = list(when.flags)
    if when.percentile is not None:
        condition["percentile"] = list(when.percentile)
    for name in ("strength_below", "strength_from"):
        if getattr(when, name) is not None:
            condition[name] = getattr(when, name)
    action: dict[str, Any] = {name: True for name in ("flip", "drop") if getattr(then, name)}
    for name in ("alpha", "margin", "weight"):
        if getattr(then, name) is not None:
            action[name] = getattr(then, name)
    if then.calibrated:
        action["probability"] = CALIBRATED
    if then.by_grade:
        action["weight"] = GRADE
    return {"when": condition, "then": action}


class _Reader:
    """Reads parts of a written recipe, and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def mapping(self, written: object, what: str) -> Mapping[str, Any]:
        if isinstance(written, Mapping):
            return written
        self.problems.append(f"{what} is an object with names and values, not {_shown(written)}.")
        return {}

    def known(self, written: Mapping[str, Any], keys: Sequence[str], what: str) -> None:
        for key in written:
            if key in keys:
                continue
            written_as, near = str(key)[:60], []
            if len(self.problems) < MOST_PROBLEMS:  # comparing words takes its time
                near = difflib.get_close_matches(written_as, keys, n=1)
            hint = f" Is `{near[0]}` meant?" if near else ""
            self.problems.append(
                f"{what} has no `{written_as}`; it has {', '.join(f'`{k}`' for k in keys)}.{hint}"
            )

    def text(
        self,
        written: Mapping[str, Any],
        key: str,
        what: str,
        *,
        most: int,
        required: bool = False,
    ) -> str:
        value = written.get(key, "")
        if not isinstance(value, str):
            self.problems.append(f"{what} is text, not {_shown(value)}.")
            return ""
        if required and not value.strip():
            self.problems.append("A recipe needs a `name`.")
        if len(value) > most:
            self.problems.append(f"{what} is at most {most} characters long.")
        if any(
            (ord(sign) < 32 and sign not in "\n\t") or 0xD800 <= ord(sign) < 0xE000
            for sign in value
        ):
            self.problems.append(f"{what} holds signs that cannot be shown or stored.")
        return value.strip()

    def choice(
        self,
        written: Mapping[str, Any],
        key: str,
        what: str,
        choices: Sequence[str],
        default: str,
    ) -> str:
        value = written.get(key, default)
        if isinstance(value, str) and value in choices:
            return value
        self.problems.append(f"{what} is {_either(choices)}, not {_shown(value)}.")
        return default

    def number(
        self,
        written: Mapping[str, Any],
        key: str,
        default: float,
        *,
        low: float,
        high: float,
        what: str = "",
        below_high: bool = False,
        above_low: bool = False,
    ) -> float:
        value = written.get(key, default)
        fits = (
            _is_number(value)
            and (low < value if above_low else low <= value)
            and (value < high if below_high else value <= high)
        )
        if fits:
            return float(value)
        start = f"above {low:g}" if above_low else f"from {low:g}"
        end = f"below {high:g}" if below_high else f"to {high:g}"
        span = f"{start} {'and ' if below_high else ''}{end}" if high < float("inf") else start
        self.problems.append(f"{what or f'`{key}`'} is a number {span}, not {_shown(value)}.")
        return default

    def count(
        self, written: Mapping[str, Any], key: str, default: int, *, low: int, high: int
    ) -> int:
        value = written.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.problems.append(
            f"`{key}` is a whole number from {low:,} to {high:,}, not {_shown(value)}."
        )
        return default

    def model(self, written: object) -> Model:
        found = self.mapping(written, "`model`")
        kind = self.choice(found, "kind", "The model's `kind`", tuple(KINDS), LINEAR)
        allowed = {
            LINEAR: ("kind",),
            HIDDEN: ("kind", "hidden", "dropout"),
            LORA: ("kind", "base", "rank", "dropout", "max_length"),
            FULL: ("kind", "base", "dropout", "max_length"),
        }[kind]
        self.known(found, allowed, f"A {kind} model")
        base = self.text(found, "base", "`base`", most=300)
        if kind in (LORA, FULL) and not base:
            self.problems.append(
                f"A {kind} model needs a `base`: a folder, or an id on the model hub."
            )
        return Model(
            kind=kind,
            hidden=self.count(found, "hidden", Model.hidden, low=1, high=4096),
            dropout=self.number(
                found, "dropout", Model.dropout, low=0.0, high=1.0, below_high=True
            ),
            base=base,
            rank=self.count(found, "rank", Model.rank, low=1, high=1024),
            max_length=self.count(found, "max_length", Model.max_length, low=8, high=131_072),
        )

    def loss(self, written: object) -> Loss:
        found = self.mapping(written, "`loss`")
        self.known(found, ("name", "noise", "beta", "centring"), "A loss")
        return Loss(
            name=self.choice(found, "name", "The loss", tuple(LOSSES), BRADLEY_TERRY),
            noise=self.number(found, "noise", Loss.noise, low=0.0, high=0.5, below_high=True),
            beta=self.number(found, "beta", Loss.beta, low=LEAST_BETA, high=float("inf")),
            centring=self.number(found, "centring", Loss.centring, low=0.0, high=float("inf")),
        )

    def treatments(self, written: object) -> tuple[Treatment, ...]:
        if not isinstance(written, Sequence) or isinstance(written, str):
            self.problems.append(f"`treatments` is a list, not {_shown(written)}.")
            return ()
        if len(written) > MOST_TREATMENTS:
            self.problems.append(f"A recipe has at most {MOST_TREATMENTS} treatments.")
            return ()
        return tuple(self._treatment(each, i) for i, each in enumerate(written, start=1))

    def _treatment(self, written: object, number: int) -> Treatment:
        what = f"Treatment {number}"
        found = self.mapping(written, what)
        self.known(found, ("when", "then"), what)
        return Treatment(
            self._when(found.get("when", {}), what), self._then(found.get("then", {}), what)
        )

    def _when(self, written: object, what: str) -> When:
        found = self.mapping(written, f"`when` of {what.lower()}")
        self.known(
            found, ("flag", "percentile", "strength_below", "strength_from"), f"{what}: `when`"
        )
        flags = found.get("flag", [])
        flags = [flags] if isinstance(flags, str) else flags
        if not isinstance(flags, Sequence) or not all(flag in FLAGS for flag in flags):
            self.problems.append(f"{what}: a flag is {_either(FLAGS)}, not {_shown(flags)}.")
            flags = []
        elif not flags and "flag" in found:
            self.problems.append(
                f"{what} is for no flag at all: name one, or leave `flag` out to treat every pair."
            )
        percentile = None
        if "percentile" in found:
            span = found["percentile"]
            is_span = isinstance(span, Sequence) and not isinstance(span, str) and len(span) == 2
            if is_span and all(_is_number(end) for end in span) and 0 <= span[0] < span[1] <= 1:
                percentile = (float(span[0]), float(span[1]))
            else:
                self.problems.append(
                    f"{what}: `percentile` is two shares from 0 to 1 such as [0, 0.1], "
                    f"not {_shown(span)}."
                )
        below, from_ = (
            self._bound(found, key, what) for key in ("strength_below", "strength_from")
        )
        if below is not None and from_ is not None and from_ >= below:
            self.problems.append(f"{what}: no strength is from {from_:g} and below {below:g}.")
        return When(tuple(dict.fromkeys(flags)), percentile, below, from_)

    def _bound(self, written: Mapping[str, Any], key: str, what: str) -> float | None:
        if key not in written:
            return None
        value = written[key]
        if not _is_number(value):
            self.problems.append(f"{what}: `{key}` is a number, not {_shown(value)}.")
            return None
        return float(value)

    def _then(self, written: object, what: str) -> Then:
        found = self.mapping(written, f"`then` of {what.lower()}")
        keys = ("flip", "drop", "alpha", "probability", "margin", "weight")
        before = len(self.problems)
        self.known(found, keys, f"{what}: `then`")
        for key in ("flip", "drop"):
            if not isinstance(found.get(key, False), bool):
                self.problems.append(f"{what}: `{key}` is true or false.")
        if found.get("drop") and len(found) > 1:
            self.problems.append(f"{what}: who drops pairs does nothing else with them.")
        probability = found.get("probability")
        if probability not in (None, CALIBRATED):
            self.problems.append(
                f"{what}: `probability` is {CALIBRATED!r}, the run's own; for a number give "
                f"`alpha`, which is 1 - p."
            )
        if probability is not None and "alpha" in found:
            self.problems.append(f"{what}: a label is smoothed by `alpha` or by `probability`.")
        alpha = margin = weight = None
        if "alpha" in found:
            alpha = self.number(
                found, "alpha", 0.0, low=0.0, high=0.5, below_high=True, what=f"{what}: `alpha`"
            )
        if "margin" in found:
            asked = {"margin": 1.0} if found["margin"] == STRENGTH else found
            margin = self.number(
                asked, "margin", 1.0, low=0.0, high=100.0, what=f"{what}: `margin`"
            )
        by_grade = found.get("weight") == GRADE
        if "weight" in found and not by_grade:
            weight = self.number(
                found, "weight", 1.0, low=0.0, high=1000.0, what=f"{what}: `weight`"
            )
        then = Then(
            flip=found.get("flip") is True,
            drop=found.get("drop") is True,
            alpha=alpha,
            calibrated=probability == CALIBRATED,
            margin=margin,
            weight=weight,
            by_grade=by_grade,
        )
        if then == Then() and len(self.problems) == before:
            self.problems.append(f"{what} does nothing: `then` says {_either(keys)}.")
        return then

    def contrastive(self, written: object) -> Contrastive | None:
        if written is None:
            return None
        found = self.mapping(written, "`contrastive`")
        keys = ("method", "on", "weight", "temperature", "prototypes")
        self.known(found, keys, "`contrastive`")
        method = self.choice(found, "method", "The contrastive `method`", tuple(METHODS), SIMCSE)
        on = self.choice(found, "on", "Contrasted is what is `on`", (PAIRS, DIFFERENCES), PAIRS)
        weight, prototypes = {
            (SWAV, DIFFERENCES): (0.5, 20),
            (SWAV, PAIRS): (0.1, 50),
        }.get((method, on), (1.0, Contrastive.prototypes))
        return Contrastive(
            method=method,
            on=on,
            weight=self.number(found, "weight", weight, low=0.0, high=1000.0),
            temperature=self.number(
                found,
                "temperature",
                Contrastive.temperature if method != SWAV else 0.1,
                low=0.0,
                high=100.0,
                above_low=True,
            ),
            prototypes=self.count(found, "prototypes", prototypes, low=2, high=10_000),
        )

    def meta(self, written: object) -> Meta | None:
        if written is None:
            return None
        found = self.mapping(written, "`meta`")
        self.known(found, ("step", "prompts", "responses"), "`meta`")
        return Meta(
            step=self.number(found, "step", Meta.step, low=0.0, high=1000.0),
            prompts=self.count(found, "prompts", Meta.prompts, low=1, high=1024),
            responses=self.count(found, "responses", Meta.responses, low=2, high=64),
        )

    def optimiser(self, written: object, model: Model) -> Optimiser:
        found = self.mapping(written, "`optimiser`")
        keys = ("epochs", "learning_rate", "batch", "weight_decay", "warm_up", "patience")
        self.known(found, keys, "`optimiser`")
        if found and model.kind == LINEAR:
            self.problems.append(
                "Linear heads are solved exactly and have no optimiser: leave `optimiser` out, or "
                "train another kind of model."
            )
        usual = USUAL.get(model.kind, Optimiser())
        return Optimiser(
            epochs=self.count(found, "epochs", usual.epochs, low=1, high=1000),
            learning_rate=self.number(
                found, "learning_rate", usual.learning_rate, low=0.0, high=10.0, above_low=True
            ),
            batch=self.count(found, "batch", usual.batch, low=2, high=4096),
            weight_decay=self.number(
                found, "weight_decay", usual.weight_decay, low=0.0, high=100.0
            ),
            warm_up=self.number(found, "warm_up", usual.warm_up, low=0.0, high=1.0),
            patience=self.count(found, "patience", usual.patience, low=0, high=1000),
        )

    def together(
        self, model: Model, loss: Loss, contrastive: Contrastive | None, meta: Meta | None
    ) -> None:
        """What each part allows and their sum does not."""
        if model.kind == LINEAR:
            wanted = {
                "contrastive learning": contrastive is not None,
                "meta-learning": meta is not None,
                "centring": loss.centring > 0,
            }
            for what in (what for what, is_wanted in wanted.items() if is_wanted):
                self.problems.append(
                    f"Linear heads have no features of their own to learn: {what} needs a model of "
                    f"kind `hidden`, `lora` or `full`."
                )
        if contrastive is None:
            return
        if contrastive.method == GOALS and model.is_head:
            self.problems.append(
                "The goal-conditioned loss reads the states of single tokens: it needs a model of "
                "kind `lora` or `full`."
            )
        if contrastive.method != GOALS and model.dropout == 0.0:
            self.problems.append(
                "Without dropout both views of a text are the same and contrastive learning does "
                "nothing: set the model's `dropout` above 0 (the paper's is 0.05)."
            )

    def no_margin_for_all(self, treatments: Sequence[Treatment]) -> None:
        """Ties have no strength of their own, so that only a treatment of all pairs meets them."""
        for number, treatment in enumerate(treatments, start=1):
            if treatment.when.is_everything and treatment.then.margin is not None:
                self.problems.append(
                    f"Treatment {number} gives a margin to ties, which prefer neither response: "
                    f"say which pairs get a margin, or leave ties out."
                )


USUAL = {
    HIDDEN: Optimiser(),
    LORA: Optimiser(epochs=1, learning_rate=1e-4, batch=32, weight_decay=0.0, patience=0),
    FULL: Optimiser(epochs=1, learning_rate=5e-6, batch=32, weight_decay=0.0, patience=0),
}


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= LARGEST_NUMBER  # not so of what is no number, or endless


def _either(choices: Sequence[str]) -> str:
    shown = [f"`{choice}`" for choice in choices]
    return f"{', '.join(shown[:-1])} or {shown[-1]}"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
