"""Writes tokenizer_golden.txt: texts and the ids that the Python `tokenizers` package gives them.

Usage: python make_tokenizer_golden.py MODEL_FOLDER > tokenizer_golden.txt
Each line is a JSON string, a tab, and the ids with spaces between them. Texts are encoded whole,
without added special tokens; special tokens in them are recognised.
"""

import json
import sys

from tokenizers import Tokenizer

TEXTS = [
    "Hello, world!",
    "  two  spaces\tand\ttabs \n\n\nlines\r\n",
    "1234567890 3.14159 2026-11-24",
    "I'll can't we've they're",
    "Zürich naïve 東京 Привет नमस्ते 🙂👩‍👩‍👧",
    "def f(x):\n    return x ** 2  # comment",
    "a\u0301 \u00a0 \u200b \ufeff",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "",
]


def main() -> None:
    tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        print(json.dumps(text) + "\t" + " ".join(map(str, ids)))


if __name__ == "__main__":
    main()
