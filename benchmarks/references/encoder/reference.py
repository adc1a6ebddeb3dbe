"""Makes the encoder fixtures of harness/scorer/tests with PyTorch, sentence-transformers and HF tokenizers.

    python reference.py MINILM_FOLDER harness/scorer/tests/fixtures

Written there:
    texts.json            100 varied texts
    minilm.f32            their all-MiniLM-L6-v2 vectors, 100 x 384, little-endian f32
    minilm_ids.json       their token ids under all-MiniLM-L6-v2
    tiny_bert/            a random two-layer BERT of width 32 in the sentence-transformers layout (Apache-2.0, ours)
    tiny_bert.f32         its vectors, one block of 100 x 32 per pooling mode (see POOLINGS), not normalised by the model
    tiny_bert_ids.json    its token ids
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

POOLINGS = ["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
WORDS = (
    "the cat a film of cooking quick dinner recipe for tired parents who have ten minutes and one pan how to repair "
    "bicycle chain at home without tools river bank loan interest river fish dance moves slow motion tutorial beginner "
    "mountain weather storm warning electric guitar lesson chord history of tea ceremony funny dog learns to swim"
).split()
HAND = [
    "", " ", "\n\t\r ", ".", "?!", "a", "[CLS]", "[SEP] and [MASK] in [UNK] text", "[cls] lower", "##ing", "don't",
    "U.S.A.-based e-mail: x@y.org", "3.14159 1,000,000 -7 1e-9", "C++ & C# <html> {json: \"yes\"}", "ÀÉÎÕÜ ñ ç ø ß æ",
    "e\u0301 a\u030a o\u0308\u0332 combining", "naïve café résumé", "İstanbul ıI ΣΑΣ ς", "\u00a0no\u00a0break\u2003spaces\u3000",
    "zero\u200bwidth\u200djoin\ufeffbom", "nul\u0000 bell\u0007 esc\u001b[31m del\u007f tab\tend", "line\u2028sep\u2029para\u0085next",
    "\ufffd replacement \ue000 private", "soft\u00adhyphen", "😀", "🧑‍🍳 cooks 🍜🍜 👍🏽", "flags 🇫🇷🇯🇵 keycap 1️⃣", "日本語の短い動画",
    "小猫在睡觉 cat", "漢字かなカナ混じり文", "한국어 문장입니다", "ภาษาไทยไม่มีช่องว่าง", "हिन्दी में खोज", "العربية نص قصير", "نَصٌّ مُشَكَّل",
    "עברית עם ניקוד שָׁלוֹם", "Ελληνικά γράμματα", "Русский текст про кошек", "Việt Nam đẹp lắm", "Zażółć gęślą jaźń",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛", "ﬁ ﬂ ligatures ½ ² Ⅷ", "a" * 99, "b" * 100, "c" * 101, "d" * 5000, "supercalifragilisticexpialidocious",
    "x" + "\u0301" * 40, "— en – em … “quotes” ‘single’ «guillemets»", "¿Qué? ¡Sí! 100€ £5 ¥3 ₹7 ™ ©", "mixed日本English한국text",
    "\U00020000 \U0002f800 rare han", "_under_score_ ~tilde~ `tick` ^caret^ $dollar", "HELLO WORLD ALL CAPS", "   leading and trailing   ",
]


def texts() -> list[str]:
    random.seed(20)
    result = list(HAND)
    for length in [1000, 700, 300, 254, 255, 256, 257, 128]:
        result.append(" ".join(random.choice(WORDS) for _ in range(length)))
    while len(result) < 100:
        result.append(" ".join(random.choice(WORDS) for _ in range(random.randint(1, 60))).capitalize())
    return result


def ids(folder: Path, limit: int, texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return [tokenizer.encode(text).ids for text in texts]


def vectors(folder: Path, texts: list[str]) -> np.ndarray:
    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, batch_size=1, convert_to_numpy=True).astype("<f4")


def tiny_vocabulary() -> list[str]:
    characters = sorted({c for text in HAND for c in text.lower() if c.isprintable() and not c.isspace()})
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)]
    words = sorted(set(WORDS))[:60]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = special + words + characters[::2] + letters + ["##" + c for c in letters] + ["##ing", "##er", "un", "##fra"]
    return list(dict.fromkeys(tokens))


def tiny_tokenizer(vocabulary: list[str]) -> Tokenizer:
    table = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(table, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_tiny(folder: Path) -> None:
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    vocabulary = tiny_vocabulary()
    tiny_tokenizer(vocabulary).save(str(folder / "tokenizer.json"), pretty=False)
    torch.manual_seed(7)
    model = BertModel(BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.5,
    ), add_pooling_layer=False).half().float()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "bias" in name or "LayerNorm" in name:
                value.add_(torch.randn_like(value) * 0.1)
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"  # the weights are stored in half precision, the model computes in single
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 64})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ])


def main() -> None:
    minilm, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    lines = texts()
    write_json(out / "texts.json", lines)
    write_json(out / "minilm_ids.json", ids(minilm, 256, lines))
    vectors(minilm, lines).tofile(out / "minilm.f32")
    tiny = out / "tiny_bert"
    write_tiny(tiny)
    write_json(out / "tiny_bert_ids.json", ids(tiny, 48, lines))
    blocks = []
    for mode in POOLINGS:
        write_json(tiny / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode": mode})
        blocks.append(vectors(tiny, lines))
    np.stack(blocks).tofile(out / "tiny_bert.f32")
    write_json(tiny / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})


if __name__ == "__main__":
    main()
