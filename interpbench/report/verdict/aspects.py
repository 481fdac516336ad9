"""What metrics say by which no method can be the best, since they do not ask which map is right."""

BESIDE = {
    "robustness": "It does not ask whether a map is right: one that never changes is best.",
    "complexity": (
        "It does not ask whether a map is right: one that marks a single position is best, "
        "wherever that lies."
    ),
    "randomisation": (
        "It asks whether a map depends on what the model has learnt, not whether it is right."
    ),
    "axiom": "It asks whether a map keeps an axiom, not whether it marks the right positions.",
    "cost": "It says what a map costs, not what it is worth.",
}
