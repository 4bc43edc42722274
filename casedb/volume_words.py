"""Words for invented cases: titles, descriptions, names of people and files; all made up."""

from random import Random


def _words(text: str, apart: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(apart))


_FIRST = _words(
    "Ada Amir Anna Ben Carla Chen Dana David Elif Emma Erik Farah Felix Grace Hana Hugo Ida Ilya "
    "Ines Jan Jana Joel Kai Karim Lena Leon Lina Luca Mara Marc Mia Milan Nadia Nils Nina Noah "
    "Olga Omar Paul Petra Rosa Ruth Sami Sara Sven Tara Theo Tom Uma Vera Viktor Yara Yusuf Zoe"
)
_LAST = _words(
    "Abel Adler Arndt Bauer Becker Berg Brandt Costa Cruz Dietz Ebert Engel Farkas Fischer Frank "
    "Garcia Graf Haas Hahn Horn Ivanov Jansen Kaya Keller Klein Koch Kovac Krause Lang Lehmann "
    "Lopez Maier Marino Moser Nagy Novak Olsen Peters Popov Rossi Roth Sahin Sauer Silva Simon "
    "Stein Toth Vogel Wagner Weiss Winter Wolf Yilmaz Ziegler"
)
_MATTERS = _words(
    "Noise complaint|Parking permit|Tenancy dispute|Housing benefit appeal|Tree felling request|"
    "School transport|Licence renewal|Tax refund|Water damage|Waste collection|Street lighting|"
    "Planning objection|Boundary dispute|Blocked drain|Smell complaint|Dog licence|Market stall|"
    "Council tax arrears|Home visit|Care assessment|Fence permit|Child support review|"
    "Data access request|Pension inquiry|Event permit|Road damage|Flood claim|Heating allowance",
    "|",
)
_PLACES = _words(
    "Mill Lane|Church Street|Station Road|High Street|Park Avenue|Bridge Street|Garden Close|"
    "Castle Hill|River Walk|Market Square|School Lane|Orchard Way|Forest Road|Chapel Street|"
    "Harbour View|Meadow Drive|Quarry Road|Tower Street|Canal Side|Victoria Terrace|Union Street|"
    "Spring Gardens|North Gate|Abbey Road|Field End|Kiln Lane|Dock Street|Observatory Hill",
    "|",
)
_DISTRICTS = _words(
    "Ashford Barnwick Coldbrook Denham Eastfield Fairmont Glenwood Hartley Inglewood Kenton "
    "Langley Marston Newbury Oakdale Penrose Redhill Selwood Thornton Upton Westerly"
)
_SENTENCES = (
    "The applicant called twice and asked for an answer in writing.",
    "A neighbour confirms what is described, and has sent photographs.",
    "The matter was before the office last year and was closed without a decision.",
    "Two documents are missing and were asked for by letter.",
    "An appointment on site has been agreed with the owner.",
    "The deadline for an objection ends this month.",
    "The decision depends on the report of the surveyor.",
    "Part of the amount has been paid; the rest is disputed.",
    "The applicant asks to be contacted by e-mail only.",
    "An interpreter will be needed for the hearing.",
    "The other party has not answered so far.",
    "The file was transferred from the district office.",
    "A payment plan over six months has been proposed.",
    "The address on the form differs from the one in the register.",
)
_FILES = (
    ("letter", "pdf", "application/pdf"),
    ("application", "pdf", "application/pdf"),
    ("photo", "jpg", "image/jpeg"),
    ("plan", "png", "image/png"),
    ("statement", "pdf", "application/pdf"),
    (
        "report",
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("table", "csv", "text/csv"),
)


def name_person(random: Random) -> tuple[str, str]:
    """Return a first and a last name."""
    return random.choice(_FIRST), random.choice(_LAST)


def title_case(random: Random) -> str:
    """Return a title such as "Noise complaint, Mill Lane 14, Oakdale"."""
    number = int(random.random() * 240) + 1
    place = random.choice(_PLACES)
    return f"{random.choice(_MATTERS)}, {place} {number}, {random.choice(_DISTRICTS)}"


def describe_case(random: Random) -> str:
    """Return two to six sentences."""
    return " ".join(random.choice(_SENTENCES) for _ in range(2 + int(random.random() * 5)))


def name_document(random: Random) -> tuple[str, str]:
    """Return a file's name and its MIME type."""
    stem, suffix, mime_type = random.choice(_FILES)
    return f"{stem}-{int(random.random() * 9000) + 1000}.{suffix}", mime_type
