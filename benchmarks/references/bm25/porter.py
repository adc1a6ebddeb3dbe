"""Writes harness/scorer/src/lexical/porter.tsv: words and their Porter stems.

The words are the letters-only vocabulary of the documents given as arguments (every n-th of them, so that the file
stays small). The stems are nltk's, in the mode that follows Porter's own program, which is also what Lucene does.

    pip install nltk==3.9.1
    python porter.py FILE... > harness/scorer/src/lexical/porter.tsv
"""

import re
import sys

from nltk.stem.porter import PorterStemmer

LIMIT = 9000

vocabulary = set()
for path in sys.argv[1:]:
    with open(path, encoding="utf-8", errors="replace") as file:
        vocabulary |= set(re.findall(r"[a-z]+", file.read().lower()))

stemmer = PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)
words = sorted(vocabulary)
for word in words[:: max(1, len(words) // LIMIT)]:
    print(word, stemmer.stem(word), sep="\t")
