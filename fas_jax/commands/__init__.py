"""The commands, a module each: `main` with its options, and `command`, which runs it on the command line."""

GROUPS = {
    "From videos to a report": ("run", "synthesize", "prepare", "extract", "train", "collect", "evaluate", "reproduce"),
    "Judging videos": ("predict", "demo", "export", "export_weights"),
    "Studies of a run": (
        "search",
        "audit_leakage",
        "oracle",
        "unlabelled",
        "frames_curve",
        "robustness",
        "quality_table",
        "gate_table",
        "tile_maps",
        "explanations",
        "attack",
        "verdict",
        "streaming",
        "compare",
    ),
    "Studies of rules and intervals": ("compare_thresholds", "domain_shift", "null"),
    "Housekeeping": ("doctor", "runs", "cache"),
    "Data, weights, processes": ("inspect_data", "convert_list", "fetch_weights", "launch"),
}
"""All commands by what they are for, in the order in which help shows them."""
