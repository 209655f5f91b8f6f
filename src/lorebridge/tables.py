"""The schemas of the tables that stages hand to each other, and the one way to write and read them.

``docs/artifacts.md`` documents every column; a test holds the two together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lorebridge import publish
from lorebridge.errors import InputError

STR, I64, I32, I16, F64, F32, BOOL = (
    pa.string(),
    pa.int64(),
    pa.int32(),
    pa.int16(),
    pa.float64(),
    pa.float32(),
    pa.bool_(),
)
STRS = pa.list_(pa.string())
BYTES = pa.binary()

FORMAT: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}

SCHEMAS: dict[str, pa.Schema] = {
    name: pa.schema(list(columns.items()))
    for name, columns in {
        "documents": {"doc_id": STR, "title": STR, "text": STR, "source": STR, "n_chars": I64},
        "signatures": {
            "doc_id": STR,
            "source": I16,
            "file_index": I32,
            "file": STR,
            "row": I64,
            "digest": BYTES,
            "minhash": BYTES,
        },
        "duplicates": {"doc_id": STR, "duplicate_of": STR, "reason": STR},
        "pairs": {"pair_id": STR, "en": STR, "xx": STR, "source": STR},
        "order": {
            "sequence": I32,
            "slot": I16,
            "document": I16,
            "stream": STR,
            "piece": I32,
            "part": I16,
            "start": I32,
            "n_tokens": I32,
        },
        "tuning": {"row_id": STR, "prompt": STR, "answer": STR},
        "tuning_audit": {"side": STR, "what": STR, "n_rows": I64},
        "metrics": {
            "run": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "step": I32,
            "loss": F64,
            "learning_rate": F64,
            "grad_norm": F64,
            "tokens": I64,
            "target_tokens": I64,
        },
        "questions": {
            "question_id": STR,
            "culture": STR,
            "lang": STR,
            "text": STR,
            "option_index": I16,
            "option": STR,
            "is_gold": BOOL,
            "subset": STRS,
            "n_blanks": I16,
        },
        "facts": {
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "subject_id": STR,
            "subject": STR,
            "object_id": STR,
            "object": STR,
            "template": STR,
            "golds": STRS,
            "candidates": STRS,
        },
        "fact_scores": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "decode": STR,
            "lengths": STR,
            "space": STR,
            "n_masks": I16,
            "n_candidates": I32,
            "exact": F64,
            "filtered": F64,
            "gold_logprob": F64,
            "gold_rank": F64,
            "best_candidate": STR,
            "remark": STR,
        },
        "scores": {
            "run": STR,
            "lang_pair": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "step": I32,
            "culture": STR,
            "question_id": STR,
            "lang": STR,
            "prefix": STR,
            "option_index": I16,
            "sum_logprob": F64,
            "n_tokens": I32,
            "n_bytes": I32,
            "prior_logprob": F64,
            "prior_tokens": I32,
        },
        "perplexity": {
            "run": STR,
            "lang_pair": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "step": I32,
            "lang": STR,
            "prefix": STR,
            "n_documents": I32,
            "n_tokens": I64,
            "n_bytes": I64,
            "sum_nll": F64,
            "perplexity": F64,
            "bits_per_byte": F64,
        },
        "alignment": {
            "run": STR,
            "lang_pair": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "step": I32,
            "lang": STR,
            "layer": I16,
            "n_pairs": I32,
            "mexa": F64,
            "to_xx": F64,
            "to_en": F64,
        },
        "copying": {
            "run": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "step": I32,
            "lang": STR,
            "text": STR,
            "n_sequences": I32,
            "n_tokens": I32,
            "accuracy": F64,
            "accuracy_once": F64,
            "gain": F64,
            "copied": F64,
            "lo": F64,
            "hi": F64,
        },
        "mechanism": {
            "run": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "step": I32,
            "of": STR,
            "layer": I16,
            "position": STR,
            "measure": STR,
            "value": F64,
            "lo": F64,
            "hi": F64,
            "chance": F64,
            "n": I32,
        },
        "scorer": {
            "seed": I16,
            "culture": STR,
            "lang": STR,
            "rule": STR,
            "n_questions": I32,
            "gold_first": F64,
            "tied": F64,
            "accuracy": F64,
            "lo": F64,
            "hi": F64,
        },
        "option_scores": {
            "question_index": I32,
            "option_index": I16,
            "option": STR,
            "sum_logprob": F64,
            "n_tokens": I32,
            "mean_nll": F64,
            "is_gold": BOOL,
            "predicted": BOOL,
        },
        "chunks": {"chunk_id": STR, "doc_id": STR, "text": STR, "n_chars": I32},
        "hits": {"question_id": STR, "chunk_id": STR, "doc_id": STR, "rank": I16, "score": F32, "method": STR},
        "judgments": {
            "question_id": STR,
            "chunk_id": STR,
            "entails": STR,
            "probability": F64,
            "judge": STR,
            "distractor_entails": F64,
        },
        "translations": {"kind": STR, "id": STR, "text": STR},
        "subjects": {
            "question_id": STR,
            "culture": STR,
            "lang": STR,
            "subject_rule": STR,
            "terms": STRS,
            "n_chunks": pa.list_(I64),
            "aliases": STRS,
            "gold": STR,
            "distractors": STRS,
        },
        "mentions": {
            "question_id": STR,
            "piece": I32,
            "subject": BOOL,
            "object": BOOL,
            "n_statements": I32,
            "n_chunks": I32,
            "distractor_documents": F64,
            "distractor_chunks": F64,
        },
        "occurrences": {
            "question_id": STR,
            "culture": STR,
            "corpus": STR,
            "text": STR,
            "n_documents": I64,
            "n_tokens": I64,
            "absent": BOOL,
            "n_subject": I64,
            "n_object": I64,
            "n_both": I64,
            "n_chunks": I64,
            "n_statements": I64,
            "distractor_documents": F64,
            "distractor_chunks": F64,
            "stands_out": BOOL,
        },
        "exposure": {
            "run": STR,
            "learned": STR,
            "arm": STR,
            "seed": I16,
            "question_id": STR,
            "step": I32,
            "stage": STR,
            "stream": STR,
            "lang": STR,
            "pairs": STR,
            "n_presentations": I64,
            "n_distinct_docs": I64,
            "n_subject": I64,
            "n_object": I64,
            "n_pairs_covering": I64,
            "n_leak_pairs": I64,
            "n_tokens": I64,
        },
        "leaks": {
            "question_id": STR,
            "culture": STR,
            "lang": STR,
            "n_pairs": I64,
            "pair_ids": STRS,
            "n_subject_pairs": I64,
        },
        "density": {
            "culture": STR,
            "corpus": STR,
            "unit": STR,
            "denominator": I64,
            "capped": BOOL,
            "method": STR,
            "judge": STR,
            "includes_parallel": BOOL,
            "n_questions": I32,
            "indeterminate": I32,
            "n_capped": I32,
            "n_absent": I32,
            "occurrences": F64,
            "density": F64,
            "lo": F64,
            "hi": F64,
            "distractor_occurrences": F64,
        },
        "p_at_1": {
            "run": STR,
            "step": I32,
            "decode": STR,
            "lengths": STR,
            "space": STR,
            "lang": STR,
            "relation": STR,
            "mean_over": STR,
            "rule": STR,
            "n": I64,
            "n_clusters": I32,
            "p1": F64,
            "lo": F64,
            "hi": F64,
            "chance": F64,
            "majority": F64,
            "majority_fitted": F64,
            "copy": F64,
            "ceiling": F64,
            "above": F64,
            "above_lo": F64,
            "above_hi": F64,
        },
        "correlates": {
            "run": STR,
            "step": I32,
            "x": STR,
            "y": STR,
            "unit": STR,
            "subset": STR,
            "method": STR,
            "n": I32,
            "r": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
        },
        "neurons": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "layer": I16,
            "neuron": I32,
            "score": F32,
            "rank": I32,
        },
        "neuron_bins": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "layer": I16,
            "bin": I16,
            "mean": F32,
            "max": F32,
        },
        "neuron_pairs": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang_a": STR,
            "lang_b": STR,
            "same_fact": F64,
            "same_object": F64,
            "same_relation": F64,
            "unrelated": F64,
            "n_others": I32,
            "p": F64,
        },
        "neuron_overlap": {
            "run": STR,
            "step": I32,
            "lang_a": STR,
            "lang_b": STR,
            "compared": STR,
            "n_facts": I64,
            "n_clusters": I64,
            "jaccard": F64,
            "lo": F64,
            "hi": F64,
        },
        "neuron_kin": {
            "run": STR,
            "step": I32,
            "kin": STR,
            "compared": STR,
            "n_pairs": I32,
            "n_clusters": I64,
            "jaccard": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
        },
        "silenced_facts": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang_cut": STR,
            "lang_asked": STR,
            "k": I32,
            "own": F64,
            "other": F64,
            "random": F64,
            "size": F64,
            "size_random": F64,
        },
        "ablations": {
            "run": STR,
            "step": I32,
            "lang_cut": STR,
            "lang_asked": STR,
            "k": I32,
            "silenced": STR,
            "n_facts": I64,
            "n_clusters": I64,
            "drop": F64,
            "lo": F64,
            "hi": F64,
            "size": F64,
        },
        "fact_transfer": {
            "run": STR,
            "step": I32,
            "lang": STR,
            "place": STR,
            "n": I64,
            "n_subjects": I64,
            "p1": F64,
            "lo": F64,
            "hi": F64,
        },
        "stretches": {"question_id": STR, "n_stretches": I64, "n_subject": I64, "n_object": I64, "n_cooccur": I64},
        "origins": {
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "unit": STR,
            "run": STR,
            "n_subject": I64,
            "n_object": I64,
            "n_cooccur": I64,
            "present": BOOL,
        },
        "origin_recovery": {
            "lang": STR,
            "unit": STR,
            "run": STR,
            "n_facts": I64,
            "n_stated": I64,
            "n_present": I64,
            "n_both": I64,
            "recall": F64,
            "precision": F64,
        },
        "corpus_alarms": {
            "alarm": STR,
            "lang": STR,
            "other": STR,
            "verdict": STR,
            "value": F64,
            "bound": F64,
            "why": STR,
            "to_do": STR,
        },
        "fact_classes": {
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "rules": STR,
            "class": STR,
            "rule": STR,
            "shared": STR,
        },
        "absent_facts": {
            "run": STR,
            "step": I32,
            "lang": STR,
            "unit": STR,
            "rules": STR,
            "class": STR,
            "n": I64,
            "n_absent": I64,
            "n_right": I64,
            "n_absent_right": I64,
            "n_subjects": I64,
            "share": F64,
            "lo": F64,
            "hi": F64,
            "base_rate": F64,
            "enrichment": F64,
            "enrichment_lo": F64,
            "enrichment_hi": F64,
            "recall": F64,
            "missed": F64,
            "stated": I64,
            "planted": I64,
            "planted_absent_right": I64,
        },
        "fact_rankings": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "candidates": STRS,
            "values": pa.list_(pa.float32()),
        },
        "rank_consistency": {
            "run": STR,
            "step": I32,
            "lang_a": STR,
            "lang_b": STR,
            "n_facts": I64,
            "n_clusters": I64,
            "candidates": F64,
            "rankc": F64,
            "chance": F64,
            "above": F64,
            "lo": F64,
            "hi": F64,
            "other_fact": F64,
            "own": F64,
            "own_lo": F64,
            "own_hi": F64,
        },
        "fact_patterns": {
            "run": STR,
            "step": I32,
            "fact_id": STR,
            "relation": STR,
            "lang": STR,
            "other": STR,
            "traced": STR,
            "planted": STR,
            "jaccard": F64,
            "null": F64,
            "n_others": I32,
            "p": F64,
            "pattern": STR,
        },
        "pattern_shares": {
            "run": STR,
            "step": I32,
            "lang": STR,
            "other": STR,
            "what": STR,
            "value": STR,
            "n": I64,
            "n_of": I64,
            "share": F64,
            "lo": F64,
            "hi": F64,
            "planted_here": I64,
            "planted_elsewhere": I64,
            "planted_nowhere": I64,
        },
        "fact_overlap": {
            "run": STR,
            "step": I32,
            "lang_a": STR,
            "lang_b": STR,
            "within": STR,
            "n_both": I64,
            "n_a": I64,
            "n_b": I64,
            "shared": I64,
            "jaccard": F64,
            "expected": F64,
            "z": F64,
            "p": F64,
        },
        "overlap_distances": {"run": STR, "step": I32, "within": STR, "x": STR, "y": STR, "n": I32, "r": F64, "p": F64},
        "accuracies": {
            "model": STR,
            "learned": STR,
            "arm": STR,
            "seed": STR,
            "step": I32,
            "culture": STR,
            "lang": STR,
            "direction": STR,
            "subset": STR,
            "rule": STR,
            "prefix": STR,
            "n_questions": I32,
            "n_clusters": I32,
            "accuracy": F64,
            "lo": F64,
            "hi": F64,
            "band_lo": F64,
            "band_hi": F64,
            "interval": STR,
            "chance": F64,
        },
        "gaps": {
            "lang": STR,
            "direction": STR,
            "contrast": STR,
            "scale": STR,
            "subset": STR,
            "unleaked": BOOL,
            "rule": STR,
            "prefix": STR,
            "step": I32,
            "seed": STR,
            "n_questions": I32,
            "n_clusters": I32,
            "at_risk": F64,
            "accuracy": F64,
            "accuracy_reference": F64,
            "gap": F64,
            "lo": F64,
            "hi": F64,
            "interval": STR,
            "note": STR,
            "p": F64,
            "p_holm": F64,
        },
        "asymmetry": {
            "contrast": STR,
            "scale": STR,
            "subset": STR,
            "unleaked": BOOL,
            "rule": STR,
            "prefix": STR,
            "direction": STR,
            "group": STR,
            "langs": STRS,
            "n_questions": I32,
            "n_clusters": I32,
            "n_seeds": I16,
            "estimate": F64,
            "se": F64,
            "df": F64,
            "lo": F64,
            "hi": F64,
            "interval": STR,
            "note": STR,
            "p": F64,
            "p_holm": F64,
        },
        "matched_gaps": {
            "lang": STR,
            "direction": STR,
            "contrast": STR,
            "matched_on": STR,
            "subset": STR,
            "rule": STR,
            "prefix": STR,
            "n_questions": I32,
            "n_clusters": I32,
            "n_seeds": I16,
            "loss_end": F64,
            "loss_end_reference": F64,
            "loss": F64,
            "step": F64,
            "step_reference": F64,
            "accuracy": F64,
            "accuracy_reference": F64,
            "gap": F64,
            "lo": F64,
            "hi": F64,
            "interval": STR,
            "note": STR,
            "p": F64,
            "p_holm": F64,
        },
        "verdicts": {
            "name": STR,
            "contrast": STR,
            "direction": STR,
            "langs": STRS,
            "minus": STRS,
            "among": STR,
            "scale": STR,
            "subset": STR,
            "rule": STR,
            "prefix": STR,
            "margin": F64,
            "alpha": F64,
            "n_questions": I32,
            "n_clusters": I32,
            "n_seeds": I16,
            "estimate": F64,
            "se": F64,
            "df": F64,
            "lo": F64,
            "hi": F64,
            "interval": STR,
            "p": F64,
            "p_equivalent": F64,
            "p_family": F64,
            "p_equivalent_family": F64,
            "verdict": STR,
            "note": STR,
            "declared": STR,
        },
        "items": {
            "selection": STR,
            "lang": STR,
            "question_id": STR,
            "cluster": I32,
            "direction": STR,
            "prefix": STR,
            "seed": I16,
            "known": BOOL,
            "answered": BOOL,
            "answered_without": BOOL,
            "in_risk_set": BOOL,
            "transferred": BOOL,
            "swapped": BOOL,
            "wrong_as_gold": F64,
            "occurrences_source": F64,
            "occurrences_target": F64,
            "presentations_source": F64,
            "presentations_target": F64,
        },
        "item_effects": {
            "direction": STR,
            "unleaked": BOOL,
            "count": STR,
            "quantity": STR,
            "langs": STRS,
            "n_questions": I32,
            "n_clusters": I32,
            "n_seeds": I16,
            "left_out": I32,
            "estimate": F64,
            "se": F64,
            "df": F64,
            "lo": F64,
            "hi": F64,
            "interval": STR,
            "note": STR,
            "p": F64,
        },
        "people": {"person_id": STR, "name": STR, "attribute": STR, "items": STRS, "values": STRS},
        "people_mentions": {"person_id": STR, "stream": STR, "lang": STR, "pairs": STR, "n_documents": I64},
        "people_gaps": {
            "contrast": STR,
            "lang": STR,
            "langs": STRS,
            "questions": STR,
            "attribute": STR,
            "subset": STR,
            "rule": STR,
            "prefix": STR,
            "n_questions": I32,
            "n_clusters": I32,
            "n_seeds": I16,
            "accuracy": F64,
            "accuracy_reference": F64,
            "gap": F64,
            "lo": F64,
            "hi": F64,
            "relative": F64,
            "relative_lo": F64,
            "relative_hi": F64,
            "interval": STR,
            "note": STR,
        },
        "recovery": {
            "corpus": STR,
            "culture": STR,
            "method": STR,
            "judge": STR,
            "stage": STR,
            "dose": I32,
            "n_questions": I32,
            "true_documents": I64,
            "recovered": I64,
            "recovered_true": I64,
            "recall": F64,
            "precision": F64,
        },
        "open_questions": {
            "dataset": STR,
            "question_id": STR,
            "source_lang": STR,
            "lang": STR,
            "question": STR,
            "answers": STRS,
            "context": STR,
            "page": STR,
            "translation": STR,
            "output_type": STR,
        },
        "qa": {
            "question_id": STR,
            "lang": STR,
            "split": STR,
            "page_id": STR,
            "title": STR,
            "question": STR,
            "answers": STRS,
            "negatives": STRS,
            "context": STR,
        },
        "qa_scores": {
            "model": STR,
            "step": I32,
            "task": STR,
            "rule": STR,
            "question_id": STR,
            "lang": STR,
            "split": STR,
            "answer": STR,
            "em_strict": F64,
            "f1_strict": F64,
            "em_folded": F64,
            "f1_folded": F64,
            "correct": F64,
        },
        "qa_baselines": {
            "task": STR,
            "lang": STR,
            "split": STR,
            "baseline": STR,
            "metric": STR,
            "value": F64,
            "n_questions": I64,
        },
        "qa_overlap": {"question_id": STR, "lang": STR, "split": STR, "n_train": I64, "overlaps": BOOL},
        "entities": {"dataset": STR, "question_id": STR, "lang": STR, "entity": STR, "origin": STR},
        "hints": {"dataset": STR, "question_id": STR, "lang": STR, "hint": STR, "text": STR},
        "hint_effects": {
            "dataset": STR,
            "hint": STR,
            "same": F64,
            "other": F64,
            "estimate": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
            "labelings": I32,
            "n_answers": I64,
            "n_questions": I32,
            "n_models": I32,
            "n_languages": I32,
            "note": STR,
        },
        "answers": {
            "dataset": STR,
            "model": STR,
            "step": I32,
            "question_id": STR,
            "source_lang": STR,
            "target_lang": STR,
            "hint": STR,
            "sample": I32,
            "prompt_id": STR,
            "prompt": STR,
            "answer": STR,
            "thought": STR,
            "ended": STR,
            "truncated": BOOL,
            "thought_cut": BOOL,
            "n_tokens": I32,
            "n_thought": I32,
            "served": STR,
        },
        "judged": {
            "dataset": STR,
            "model": STR,
            "question_id": STR,
            "source_lang": STR,
            "target_lang": STR,
            "hint": STR,
            "sample": I32,
            "correct": BOOL,
            "judge": STR,
        },
        "script_effects": {
            "dataset": STR,
            "model": STR,
            "given": STR,
            "term": STR,
            "method": STR,
            "shape": STR,
            "estimate": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
            "labelings": I32,
            "vif": F64,
            "pair_sd": F64,
            "n_answers": I64,
            "n_questions": I32,
            "n_models": I32,
            "n_languages": I32,
            "n_pairs": I32,
            "n_alike": I32,
            "note": STR,
        },
        "tuning_effects": {
            "start": STR,
            "arm": STR,
            "minus": STR,
            "same_before": F64,
            "cross_before": F64,
            "same_after": F64,
            "cross_after": F64,
            "estimate": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
            "scope": STR,
            "n_questions": I32,
            "n_clusters": I32,
            "n_seeds": I32,
            "note": STR,
        },
        "qa_accuracy": {
            "size": STR,
            "tuned": STR,
            "level": STR,
            "task": STR,
            "rule": STR,
            "lang": STR,
            "split": STR,
            "metric": STR,
            "questions": STR,
            "n_questions": I64,
            "n_clusters": I64,
            "n_seeds": I32,
            "value": F64,
            "lo": F64,
            "hi": F64,
        },
        "equivalence": {
            "size": STR,
            "tuned": STR,
            "task": STR,
            "rule": STR,
            "lang": STR,
            "split": STR,
            "metric": STR,
            "contrast": STR,
            "questions": STR,
            "scope": STR,
            "n_questions": I64,
            "n_clusters": I64,
            "n_seeds": I32,
            "margin": F64,
            "estimate": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
            "p_equivalent": F64,
            "p_lower": F64,
            "p_upper": F64,
            "p_family": F64,
            "p_equivalent_family": F64,
            "verdict": STR,
            "note": STR,
        },
        "qa_correlation": {
            "size": STR,
            "tuned": STR,
            "task": STR,
            "rule": STR,
            "split": STR,
            "metric": STR,
            "level": STR,
            "n": I64,
            "r": F64,
            "lo": F64,
            "hi": F64,
            "note": STR,
        },
        "qa_power": {
            "task": STR,
            "metric": STR,
            "lang": STR,
            "split": STR,
            "n_questions": I64,
            "n_clusters": I64,
            "seeds": I32,
            "discordance": F64,
            "detectable": F64,
            "margin": F64,
        },
        "removal_alarms": {
            "name": STR,
            "size": STR,
            "tuned": STR,
            "task": STR,
            "lang": STR,
            "verdict": STR,
            "what": STR,
            "to_do": STR,
        },
        "script_influence": {
            "dataset": STR,
            "lang": STR,
            "term": STR,
            "information": F64,
            "estimate": F64,
            "lo": F64,
            "hi": F64,
            "p": F64,
            "n_answers": I64,
        },
        "script_power": {
            "dataset": STR,
            "n_questions": I32,
            "n_languages": I32,
            "models": I32,
            "known": F64,
            "right": F64,
            "pair_sd": F64,
            "effect": F64,
        },
        "script_predictors": {
            "dataset": STR,
            "predictor": STR,
            "n_pairs": I32,
            "r2_alone": F64,
            "r2_last": F64,
            "r2_shapley": F64,
            "vif": F64,
        },
        "pages": {"page_id": STR, "lang": STR, "doc_id": STR, "title": STR, "piece": I32, "n_tokens": I64},
        "neighbours": {"page_id": STR, "rank": I32, "neighbour": STR, "score": F64},
        "exclusions": {"page_id": STR, "level": I16, "reason": STR, "stated": BOOL, "reserve": I32, "n_tokens": I64},
        "filter_sizes": {
            "level": STR,
            "lang": STR,
            "n_documents": I64,
            "n_tokens": I64,
            "tokens_removed": I64,
            "tokens_reserve": I64,
            "token_difference": I64,
            "residual_facts": I64,
            "n_facts": I64,
        },
        "forms": {"fact_id": STR, "form": STR},
        "truth": {
            "question_id": STR,
            "culture": STR,
            "subject": STR,
            "relation": STR,
            "gold": STR,
            "placed": STR,
            "covered": BOOL,
            "dose": I32,
            "n_pairs_covering": I32,
            "n_leak_pairs": I32,
            "corpus": STR,
            "n_statements": I32,
            "doc_ids": STRS,
        },
    }.items()
}


def write(
    name: str | pa.Schema,
    rows: pd.DataFrame | pa.Table | Sequence[Mapping[str, Any]],
    path: Path | str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a table with a schema: zstd Parquet whose bytes depend on the rows alone.

    Each page has a checksum (CRC-32), which the readers below compare.

    Args:
        name: a key of :data:`SCHEMAS`, or the schema of a table that one kind of study alone has.
        rows: the rows; a missing column, one too many, or a value that does not fit the schema is an error.
        path: where to write; its folder is made, and the table appears when it is whole.
        metadata: strings kept with the schema.

    Raises:
        KeyError, ValueError, pyarrow.ArrowInvalid: the rows do not fit the schema.
    """
    schema = SCHEMAS[name] if isinstance(name, str) else name
    if isinstance(rows, pa.Table):
        table = rows
    elif isinstance(rows, pd.DataFrame):
        table = pa.Table.from_pandas(rows, preserve_index=False)
    else:
        table = pa.Table.from_pylist(list(rows), schema=schema)
    extra = set(table.column_names) - set(schema.names)
    if extra:
        raise ValueError(f"{path} has columns outside its schema: {sorted(extra)}")
    table = table.select(schema.names).replace_schema_metadata(None).cast(schema)
    if metadata:
        table = table.replace_schema_metadata({k.encode(): v.encode() for k, v in metadata.items()})
    with publish.whole(path) as partial:
        pq.write_table(table, partial, **FORMAT)


@contextlib.contextmanager
def writer(
    name: str, path: Path | str, metadata: Mapping[str, str] | None = None
) -> Iterator[Callable[[Sequence[Mapping[str, Any]] | pa.Table], None]]:
    """Write a table in batches: yields a function that appends rows, so that memory holds one batch only.

    A batch that is a pyarrow Table has exactly the columns of the schema.

    The bytes depend on the rows and on how they are batched. A body that fails leaves what was there before.

    Args:
        name: a key of :data:`SCHEMAS`.
        path: where to write; its folder is made.
        metadata: for the schema.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit the schema.
    """
    schema = SCHEMAS[name].with_metadata(dict(metadata) if metadata else None)
    with publish.whole(path) as partial, pq.ParquetWriter(partial, schema, **FORMAT) as file:
        yield lambda rows: file.write_table(
            rows.cast(schema) if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
        )


def n_rows(path: Path | str) -> int:
    """Return how many rows a table has.

    Raises:
        InputError: the file is missing or is not Parquet.
    """
    try:
        return pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error


def record_batches(path: Path | str, columns: Sequence[str], size: int = 1024) -> Iterator[pa.RecordBatch]:
    """Read some columns of a table in batches of at most `size` rows, so that memory holds one batch only.

    Raises:
        InputError: the file is missing, is not Parquet, or is damaged.
    """
    try:
        # Buffered ahead, the bytes of every row group read so far would stay in memory.
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
            missing = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=size, columns=list(columns)):
                missing -= len(batch)
                yield batch
            if missing:  # the checksums leave out a page's own header, which says how many rows it has
                raise pa.ArrowInvalid(f"{missing} rows are missing")
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error


def batches(path: Path | str, columns: Sequence[str], size: int = 1024) -> Iterator[list[dict[str, Any]]]:
    """Read a table in lists of at most `size` rows; see :func:`record_batches`."""
    for batch in record_batches(path, columns, size):
        yield batch.to_pylist()


def packed(path: Path | str, *, rows: bool = True) -> bytes:
    """Return the same table as a Parquet file that a general compressor makes smaller.

    Pages are not compressed, and floating-point columns of many values are split into streams of first, second, ...
    bytes, whose leading ones repeat. The readers here read it as they read the original.

    Args:
        path: a table written by :func:`write`.
        rows: whether the rows are kept; without, the columns and the metadata are.

    Raises:
        InputError: the file is missing, is not Parquet, or is damaged.
    """
    table = _table(path)
    if not rows:
        table = table.slice(0, 0)
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    split = [name for name in floats if 4 * pc.count_distinct(table[name]).as_py() > len(table)]
    with pq.ParquetFile(path) as file:
        leaves = [file.schema.column(i).path for i in range(len(file.schema))]
    buffer = pa.BufferOutputStream()
    pq.write_table(
        table,
        buffer,
        **FORMAT | {"compression": "none"},
        use_byte_stream_split=split,
        use_dictionary=[path for path in leaves if path not in split],
    )
    return buffer.getvalue().to_pybytes()


def read(path: Path | str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table written by :func:`write`.

    Raises:
        InputError: the file is missing, is not Parquet, or is damaged.
    """
    return _table(path, columns).to_pandas()


def read_kept(path: Path | str, identity: str) -> pd.DataFrame | None:
    """Read a table that an earlier try has kept, written with the metadata ``identity``.

    Returns:
        None where there is no whole table, or one of another identity.

    Raises:
        InputError: it is damaged behind its metadata.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return read(path) if metadata.get(b"identity") == identity.encode() else None


def _table(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns) if columns else None, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error
