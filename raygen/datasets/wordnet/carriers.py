"""WordNet carriers: the sentences of WordNet-NLI, each with a place for a noun, and what may be concluded in it.

A sentence says that one single thing *is* a such-and-such (`identity`: then it is no other kind), that there is or somebody
has a such-and-such (`existence`: then there may be others too), or something of every such-and-such (`universal`: true
of a kind, then of all kinds below it). Each comes as a claim and as its denial.
"""

from __future__ import annotations

from dataclasses import dataclass

# Places: {a} the noun with its article ("a dog", "silk"), {n} the bare noun.
IDENTITY, EXISTENCE, UNIVERSAL = "identity", "existence", "universal"


@dataclass(frozen=True, slots=True)
class Carrier:
    name: str  # field, way and number: `animal-existence-1`
    way: str
    claim: str
    denial: str
    countable: bool = False  # only for nouns with an article


GENERAL = "any"  # the field of sentences that fit every noun

_SUBJECTS = {  # "... is a dog." and "... is not a dog."
    GENERAL: (
        "The answer to the riddle is",
        "What Anna has in mind is",
        "The thing that the witness described was",
        "What the stranger mentioned first was",
        "The example that the teacher chose was",
        "What the last clue pointed to was",
        "The right answer to the third question is",
        "What this entry describes is",
        "The thing that Peter forgot the name of was",
        "What the two of them talked about was",
        "What the old word stands for is",
        "The thing we are looking for is",
        "Whatever it may look like, this is",
        "As everybody could tell, it was",
    ),
    "animal": ("What crossed the path in front of us was", "The creature that the boy drew was"),
    "plant": ("What grows beside the gate is", "The thing that the lightning struck was"),
    "food": ("What the child held in her hand was", "The only thing left on the plate was"),
    "drink": ("What the waiter brought was", "The only thing left in the cupboard was"),
    "vehicle": ("What passed us on the way home was", "The thing that blocked the gate was"),
    "place": ("What you see on the left of the map is", "The thing that was closed for repairs was"),
    "clothing": ("What he left behind on the train was", "The thing that she lent her sister was"),
    "artefact": ("What the thief took was", "The oldest thing in the exhibition is"),
    "material": ("The only thing that the sample consists of is", "What the factory ordered more of was"),
    "drug": ("What the laboratory found in the sample was", "The substance in the tube was"),
    "disease": ("What kept her at home was", "What the patient suffered from was"),
    "subject": ("What she teaches on Mondays is", "What the course was about was"),
    "sport": ("What they do on Saturdays is", "His favourite pastime is"),
    "feeling": ("What he felt at that moment was", "What her letter expressed was"),
    "crime": ("What he was charged with was", "What the trial was about was"),
    "body": ("What the arrow in the drawing points at is", "The part that the surgeon examined was"),
    "idea": ("What the diagram stands for is", "What the lecturer explained was"),
    "weather": ("What woke us that night was", "What delayed the flight was"),
    "text": ("What he finished last year was", "The thing that she left to the museum was"),
}

_EXISTENCE = {
    GENERAL: (
        ("The film has a scene with {a}.", "The film has no scene with {a}."),
        ("The list includes {a}.", "The list includes no {n}."),
        ("The novel describes {a}.", "The novel describes no {n}."),
        ("The lecture dealt with {a}.", "The lecture dealt with no {n}."),
        ("One of the questions was about {a}.", "None of the questions was about {a}."),
        ("The children read something about {a}.", "The children read nothing about {a}."),
    ),
    "animal": (
        ("There was {a} near the fence.", "There was no {n} near the fence."),
        ("They photographed {a} on their trip.", "They photographed no {n} on their trip."),
        ("He heard {a} in the distance.", "He heard no {n} in the distance."),
    ),
    "plant": (
        ("There is {a} in front of the church.", "There is no {n} in front of the church."),
        ("They planted {a} last spring.", "They planted no {n} last spring."),
    ),
    "food": (
        ("She ate {a} at noon.", "She ate no {n} at noon."),
        ("There is {a} on the plate.", "There is no {n} on the plate."),
    ),
    "drink": (
        ("He drank {a} that evening.", "He drank no {n} that evening."),
        ("There was {a} in the glass.", "There was no {n} in the glass."),
    ),
    "vehicle": (
        ("The family owns {a}.", "The family owns no {n}."),
        ("There was {a} at the harbour gate.", "There was no {n} at the harbour gate."),
    ),
    "place": (
        ("The plan shows {a}.", "The plan shows no {n}."),
        ("The drone filmed {a}.", "The drone filmed no {n}."),
    ),
    "clothing": (
        ("She packed {a}.", "She packed no {n}."),
        ("He wore {a} that day.", "He wore no {n} that day."),
    ),
    "artefact": (
        ("He bought {a} at the market.", "He bought no {n} at the market."),
        ("There is {a} in the attic.", "There is no {n} in the attic."),
    ),
    "material": (
        ("The workshop uses {a}.", "The workshop uses no {n}."),
        ("The sample contains {a}.", "The sample contains no {n}."),
    ),
    "drug": (
        ("The mixture contains {a}.", "The mixture contains no {n}."),
        ("The test found {a} in his blood.", "The test found no {n} in his blood."),
    ),
    "disease": (
        ("The doctor treated somebody with {a}.", "The doctor treated nobody with {a}."),
        ("He once had {a}.", "He never had {a}."),
    ),
    "subject": (
        ("He has studied {a}.", "He has never studied {a}."),
        ("The school offers {a}.", "The school does not offer {a}."),
    ),
    "sport": (
        ("The brochure covers {a}.", "The brochure covers no {n}."),
        ("The club offers {a}.", "The club offers no {n}."),
    ),
    "feeling": (
        ("He spoke of {a} in his diary.", "He spoke of no {n} in his diary."),
        ("Her face showed {a}.", "Her face showed no {n}."),
    ),
    "crime": (
        ("He was found guilty of {a}.", "He was not found guilty of {a}."),
        ("The report speaks of {a}.", "The report speaks of no {n}."),
    ),
    "body": (
        ("He injured {a} in the fall.", "He injured no {n} in the fall."),
        ("The drawing shows {a}.", "The drawing shows no {n}."),
    ),
    "idea": (
        ("The diagram shows {a}.", "The diagram shows no {n}."),
        ("The chapter introduces {a}.", "The chapter introduces no {n}."),
    ),
    "weather": (
        ("There was {a} last night.", "There was no {n} last night."),
        ("Somebody was caught in {a}.", "Nobody was caught in {a}."),
    ),
    "text": (
        ("She has written {a}.", "She has written no {n}."),
        ("There is {a} among his papers.", "There is no {n} among his papers."),
    ),
}

_UNIVERSAL = {
    GENERAL: (
        ("Every {n} in the story has a name.", "Not every {n} in the story has a name."),
        ("Every {n} on the list was checked twice.", "Not every {n} on the list was checked twice."),
        ("Every {n} that we saw was marked.", "Not every {n} that we saw was marked."),
    ),
    "animal": (
        ("Every {n} in the area was counted.", "Not every {n} in the area was counted."),
        ("Every {n} behind the fence was asleep.", "Not every {n} behind the fence was asleep."),
    ),
    "plant": (
        ("Every {n} along the path was watered.", "Not every {n} along the path was watered."),
        ("Every {n} in the park is healthy.", "Not every {n} in the park is healthy."),
    ),
    "food": (("Every {n} in the basket was ripe.", "Not every {n} in the basket was ripe."),),
    "vehicle": (("Every {n} at the show was sold.", "Not every {n} at the show was sold."),),
    "place": (("Every {n} in town was repaired.", "Not every {n} in town was repaired."),),
    "clothing": (("Every {n} in the shop was cheap.", "Not every {n} in the shop was cheap."),),
    "artefact": (("Every {n} in the attic was broken.", "Not every {n} in the attic was broken."),),
    "body": (("Every {n} in the drawing is labelled.", "Not every {n} in the drawing is labelled."),),
    "idea": (("Every {n} in the exercise was explained.", "Not every {n} in the exercise was explained."),),
    "text": (("Every {n} in the archive was copied.", "Not every {n} in the archive was copied."),),
}


def _all() -> tuple[Carrier, ...]:
    carriers = []
    for field, subjects in _SUBJECTS.items():
        for number, subject in enumerate(subjects, 1):
            name = f"{field}-{IDENTITY}-{number}"
            carriers.append(Carrier(name, IDENTITY, f"{subject} {{a}}.", f"{subject} not {{a}}."))
    for way, table in ((EXISTENCE, _EXISTENCE), (UNIVERSAL, _UNIVERSAL)):
        for field, texts in table.items():
            for number, (claim, denial) in enumerate(texts, 1):
                name = f"{field}-{way}-{number}"
                carriers.append(Carrier(name, way, claim, denial, countable=way == UNIVERSAL))
    return tuple(carriers)


CARRIERS = _all()


def carriers_for(field: str, way: str) -> list[Carrier]:
    """Return the sentences that a field's nouns fit into; with the field GENERAL, those that all nouns fit."""
    return [each for each in CARRIERS if each.way == way and each.name.partition("-")[0] in (field, GENERAL)]


def label_of(way: str, polarity: str, relation: str) -> str:
    """Return what a premise about a word says of the same sentence about another one.

    Args:
        way: IDENTITY, EXISTENCE or UNIVERSAL.
        polarity: of premise and hypothesis: `++` both claim, `--` both deny, `+-`, `-+`.
        relation: what the hypothesis's word is to the premise's: `hypernym`, `hyponym`, or `disjoint`.
    """
    if relation == "disjoint":
        if way == IDENTITY:
            return {"++": "contradiction", "+-": "entailment"}.get(polarity, "neutral")
        return "neutral"
    upward = relation == "hypernym"
    if way == UNIVERSAL:
        upward = not upward
    if polarity in ("++", "--"):
        follows = upward if polarity == "++" else not upward
        return "entailment" if follows else "neutral"
    # A claim contradicts the denial of what follows from it; a denial, the claim that it would follow from.
    clashes = upward if polarity == "+-" else not upward
    return "contradiction" if clashes else "neutral"
