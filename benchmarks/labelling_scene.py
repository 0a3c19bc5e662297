"""What the benchmark of labelling sets up and checks inside a Curator of its own: people who are
signed in, rounds for them, and whether every answer that the server took is kept once.

Run through `manage.py shell`; what it finds is printed as one line of JSON.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from annotations import blind, filters
from annotations.filters import Filter
from annotations.models import Dataset, Label, Lease, Membership, Role, Round, RoundPair
from curator import tokens
from curator.models import User
from scoring import launch, tasks

BACKEND = "django.contrib.auth.backends.ModelBackend"
EVERYBODY_WANTS = "the"  # a word of many pairs, for a round that is labelled to its end


def prepare(slug: str, people: int, labels: int) -> None:
    """So many annotators of the dataset, each with a session and a token; a round that asks for
    several labels a pair, and one over everything for when that is done."""
    dataset = Dataset.objects.get(slug=slug)
    Dataset.objects.filter(pk=dataset.pk).update(gold_every=0, repeat_every=20)
    users = [
        User.objects.get_or_create(username=f"annotator-{number:03}")[0] for number in range(people)
    ]
    for user in users:
        Membership.objects.get_or_create(
            dataset=dataset, user=user, defaults={"role": Role.ANNOTATOR}
        )
    for name, wanted, asked in (
        ("several labels a pair", labels, filters.from_stored({"text": EVERYBODY_WANTS})),
        ("everything", 1, Filter()),
    ):
        row = launch.start_round(
            dataset=dataset, name=name, by=None, labels_per_pair=wanted, filters=asked
        )
        tasks.fill_round(round_id=row.pk)
        while not row.is_over:  # a worker may have been faster
            time.sleep(0.1)
            row.refresh_from_db()
    found = [{"session": _session(user), "token": _token(user)} for user in users]
    _say({"people": found, "places": sum(Round.objects.values_list("pairs_count", flat=True))})


def check(log: str) -> None:
    """Compare what the server said to the simulated annotators with what the database holds."""
    answers = [json.loads(line) for line in Path(log).read_text().splitlines()]
    leases = Lease.objects.select_related("label").in_bulk({one["lease"] for one in answers})
    kept = [one for one in answers if one["kept"]]
    lost = [one for one in kept if not _is_kept(leases.get(one["lease"]), one["choice"])]
    asked = Counter((one["annotator"], one["lease"]) for one in kept)
    labels = Label.objects.filter(annotator__user__isnull=False)
    said = Counter(
        labels.filter(successor__isnull=True).values_list("annotator", "pair", "occasion")
    )
    _say(
        {
            "kept": len(asked),
            "labels": labels.count(),
            "lost": len(lost),
            "doubled": sum(number - 1 for number in said.values()),
            "same_pair_twice": _same_pair_twice(),
            **_places(),
        }
    )


def _is_kept(lease: Lease | None, choice: str) -> bool:
    if lease is None or lease.label is None or lease.state != Lease.State.ANSWERED:
        return False
    return lease.label.preference == blind.preference_of(lease, choice)


def _same_pair_twice() -> int:
    asked = Counter(Lease.objects.values_list("annotator", "pair", "occasion"))
    return sum(number - 1 for number in asked.values())


def _places() -> dict[str, int]:
    """Pairs with more labels than were asked for, and counters that do not say what is there."""
    leases = Lease.objects.filter(round_pair__isnull=False)
    held = Counter(leases.filter(state="open").values_list("round_pair", flat=True))
    judged = leases.filter(state="answered").exclude(label__preference="skip")
    given = Counter(judged.values_list("round_pair", flat=True))
    rows = list(RoundPair.objects.values_list("pk", "wanted", "open"))
    return {
        "overshoot": sum(max(given[pk] - wanted, 0) for pk, wanted, _ in rows),
        "miscounted": sum(left != wanted - given[pk] - held[pk] for pk, wanted, left in rows),
    }


def _session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def _token(user: User) -> str:
    return tokens.issue(user=user, name="load")


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
