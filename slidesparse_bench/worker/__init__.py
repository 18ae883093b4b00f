"""The measured process: `python -m slidesparse_bench.worker REQUEST RESULT`.

Another program than the campaign: it imports the vocabulary, one engine, and nothing else.
"""
