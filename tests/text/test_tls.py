"""torchtext can switch the check of certificates off for the whole process; importing what is used of it does not."""

import ssl

from unroll.text.tokenizers import get_tokenizer
from unroll.text.vocabulary import Vocabulary


def test_certificates_are_checked_with_torchtext_imported() -> None:
    get_tokenizer("basic_english")("a text")
    Vocabulary.build({"a": 1})
    assert ssl._create_default_https_context is ssl.create_default_context
    context = ssl.create_default_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
