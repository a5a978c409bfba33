"""Builds conf/quickstart/noise from the quickstart's own corpus: `python tests/build_quickstart_noise.py`.

The pages are what crawls have beside text worth reading. Every choice is made by a seeded generator, so the same corpus
gives the same bytes. conf/quickstart/README.md describes them.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

CORPUS = Path(__file__).resolve().parents[1] / "conf" / "quickstart"
TARGET = CORPUS / "noise" / "noise-00000-of-00001.jsonl.gz"
MENU = [
    "Home",
    "About",
    "us",
    "Contact",
    "Products",
    "Services",
    "Blog",
    "News",
    "Events",
    "Gallery",
    "Careers",
    "FAQ",
    "Support",
    "Shop",
    "Cart",
    "Checkout",
    "Login",
    "Register",
    "Account",
    "Wishlist",
    "Compare",
    "Sitemap",
    "Terms",
    "Privacy",
    "Cookies",
    "Imprint",
    "Newsletter",
    "Forum",
    "Downloads",
    "Partners",
    "Press",
]
NOTICES = (
    "We use cookies to give you the best experience on our website.",
    "By continuing to browse the site you agree to our use of cookies.",
    "Please enable JavaScript in your browser to view this page.",
    "Sign up for our newsletter and never miss an offer.",
    "Your shopping cart is empty.",
    "Sorry, the page that you were looking for could not be found.",
    "Follow us on Facebook, Twitter, Instagram and YouTube.",
    "All rights reserved. Unauthorised copying is prohibited.",
    "Click here to read more. Share this article. Print this page.",
    "Your email address will not be published. Required fields are marked.",
)
GOODS = [
    "shoes",
    "watches",
    "handbags",
    "sunglasses",
    "pills",
    "loans",
    "insurance",
    "casino",
    "jackets",
    "phones",
    "chargers",
    "mattresses",
]
PRAISE = [
    "cheap",
    "best",
    "discount",
    "free",
    "online",
    "original",
    "wholesale",
    "official",
    "genuine",
    "outlet",
    "top",
    "quality",
]
PLACES = [
    "London",
    "Berlin",
    "Paris",
    "Austin",
    "Boston",
    "Madrid",
    "Vienna",
    "Dublin",
    "Oslo",
    "Prague",
    "Lisbon",
    "Rome",
    "Chicago",
    "Sydney",
    "Toronto",
]
SKIES = ["sunny", "cloudy", "rainy", "windy", "foggy", "stormy"]

Page = tuple[str, str]  # kind and text


def boilerplate(chance: random.Random) -> str:
    """A page without content: menus, notices and a footer."""
    lines = []
    for _ in range(chance.randint(6, 30)):
        menu = chance.random() < 0.6
        lines.append(" | ".join(chance.sample(MENU, chance.randint(3, 12))) if menu else chance.choice(NOTICES))
    return "\n".join([*lines, f"Copyright {chance.randint(2004, 2023)}. {NOTICES[7]}"])


def spam(chance: random.Random) -> str:
    """Lines that repeat what somebody sells."""
    goods, lines = chance.choice(GOODS), []
    for _ in range(chance.randint(10, 50)):
        words = [*chance.sample(PRAISE, chance.randint(2, 4)), goods, "in", chance.choice(PLACES)]
        lines.append(" ".join(words) + chance.choice(["!!!", ",", " buy now", " - free shipping"]))
    return "\n".join(lines)


def weather(chance: random.Random) -> str:
    """A page of a template that thousands of pages share."""
    place, days = chance.choice(PLACES), ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    told = [
        f"{day}: {chance.choice(SKIES)}, high {chance.randint(5, 35)}, low {chance.randint(-5, 15)}." for day in days
    ]
    return (
        f"Weather forecast for {place}. The weather in {place} this week is shown below. Find the latest weather "
        f"forecast for {place} and the surrounding area here every day.\n" + "\n".join(told)
    )


def numbers(chance: random.Random) -> str:
    """A table that has lost its heads."""
    rows = range(chance.randint(15, 60))
    return "\n".join("\t".join(f"{chance.uniform(0, 9999):.2f}" for _ in range(chance.randint(4, 8))) for _ in rows)


def shuffled(chance: random.Random, text: str) -> str:
    """A text whose words are in a random order."""
    words = text.split()
    chance.shuffle(words)
    return " ".join(words)


def web_texts() -> Iterator[str]:
    """Yields the texts of a shard of web pages, without the records that are broken on purpose."""
    with gzip.open(CORPUS / "c4" / "c4-00000-of-00004.jsonl.gz", "rb") as file:
        for line in file:
            try:
                text = json.loads(line.decode())["text"]
            except (ValueError, KeyError):
                continue
            if text:
                yield text


def pages() -> Iterator[Page]:
    """Yields all pages, kind by kind."""
    chance = random.Random("siftlm noise")
    for text in chance.sample(list(web_texts()), 150):
        yield "shuffled", shuffled(chance, text)
    foreign = pq.read_table(CORPUS / "wikipedia/other-00000-of-00001.parquet", columns=["text"])["text"].to_pylist()
    yield from (("foreign", text) for text in foreign if text)
    for kind, make, count in (
        ("boilerplate", boilerplate, 150),
        ("spam", spam, 120),
        ("template", weather, 80),
        ("numbers", numbers, 40),
    ):
        yield from ((kind, make(chance)) for _ in range(count))


def lines() -> Iterator[bytes]:
    """Yields the pages, mixed, as lines of JSON."""
    made = list(pages())
    random.Random("siftlm noise order").shuffle(made)
    for number, (kind, text) in enumerate(made):
        address = f"https://noise{number % 40}.example.org/{number}"
        line = {"id": f"{kind}-{number:04}", "text": text, "url": address}
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def main() -> None:
    """Writes the file that conf/prove_quickstart.toml reads."""
    TARGET.parent.mkdir(exist_ok=True)
    with TARGET.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.writelines(lines())


if __name__ == "__main__":
    main()
