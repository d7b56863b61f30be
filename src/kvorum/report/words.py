"""What the report says in plain words: how to read its figures and tables, what its terms mean."""

HISTOGRAM = (
    "A cell holds the questions of one entropy (left to right: how torn the ensemble's answer is) and one mutual "
    "information (bottom to top: how much of that is because its members disagree); the stronger the colour, the more "
    "questions. Right answers are above, wrong ones below. The vertical scale is stretched near zero (square root).",
    "Bottom left: every member is sure, and of the same. Bottom right: every member is torn in the same way; the doubt "
    "lies in the question, or in what the base model never knew. Higher up: members are sure of different things, "
    "because they have learned different things. An ensemble that knows what it does not know has its wrong answers "
    "further right and higher than its right ones.",
)

READING = {
    "figure-1": (
        "A row a task, a column a number; every panel has a scale of its own. The thick line is the ensemble, whose "
        "probabilities are the mean of its members', with its 95% interval; the thin lines are the members, each "
        "alone, and the dashed line is their average. Higher accuracy is better, lower NLL and calibration error are.",
        "Where NLL and calibration error rise again while accuracy stays, the model has begun to overfit: it grows "
        "surer than it is right. The gap between the ensemble and its members' average is what the ensemble is worth.",
    ),
    "figure-2": (
        *HISTOGRAM,
        "At epoch 0 all members are the same untouched model, so mutual information is zero.",
    ),
    "figure-3": (
        "Read like figure 2, for tasks that the members were not fitted on. Where mutual information grows more here "
        "than on the task fitted on, the ensemble notices that it is asked about something else. Questions that stay "
        "at high entropy and low mutual information are those where all members kept the base model's own doubt.",
    ),
    "figure-4": ("Read like figure 2, a column a task; all panels share their scales and colours, so tasks compare.",),
}

TABLES = (
    (
        "scores",
        "How right, and how well calibrated",
        "Ensemble: the answers of the members' mean probabilities. Members: each member scored alone, and the scores "
        "averaged. An arrow says which way is better.",
    ),
    (
        "uncertainty",
        "How uncertain, on right and on wrong answers",
        "In nats. The gap between right and wrong answers is what makes a doubt worth listening to.",
    ),
    (
        "ranking",
        "What the doubt is worth",
        "AUROC, wrong answers: the chance that a wrong answer is more uncertain than a right one. AUROC, other task: "
        "the chance that a question of this task is more uncertain than one of the task fitted on. 0.5 is a coin toss, "
        "1 is perfect.",
    ),
)

GLOSSARY = (
    (
        "Member, ensemble",
        "A member is one LoRA adapter, fitted from its own start and in its own order of questions. The ensemble's "
        "probability for an answer is the mean of its members' probabilities.",
    ),
    (
        "Confidence",
        "The ensemble's probability for the answer it gives.",
    ),
    ("Accuracy", "The share of questions whose most probable answer is the right one."),
    (
        "NLL (negative log-likelihood, nats)",
        "Minus the natural logarithm of the probability given to the right answer, averaged. Guessing among four gives "
        "ln 4 = 1.39; certainty of the right answer gives 0; certainty of a wrong one costs without limit.",
    ),
    (
        "Brier score",
        "The squared distance between the probabilities and what is true (1 for the right answer, 0 for the others), "
        "from 0 (perfect) to 2 (certain of what is wrong).",
    ),
    (
        "ECE (expected calibration error)",
        "How far confidence and accuracy lie apart: questions are put into ten bins by confidence, and the gaps "
        "between mean confidence and accuracy are averaged by size. 0 means that of the answers given with 70% "
        "confidence, 70% are right. The bins are of equal width, or, for equal mass, hold equally many questions.",
    ),
    (
        "Predictive entropy (total doubt, nats)",
        "How spread the ensemble's probabilities are: 0 where all lies on one answer, ln 2 = 0.69 for a toss-up "
        "between two, ln 4 = 1.39 for one between four. One nat is 1.44 bits.",
    ),
    (
        "Expected entropy (aleatoric doubt, nats)",
        "The mean of the members' own entropies: the doubt that every member has for itself. It lies in the question, "
        "or in what no member has learned; more members do not take it away.",
    ),
    (
        "Mutual information, MI (epistemic doubt, nats)",
        "Predictive entropy minus expected entropy: the doubt that comes from members being sure of different things. "
        "0 where all members give the same probabilities, at most the logarithm of the number of members. It marks "
        "questions about which the training data left room for different lessons.",
    ),
    (
        "AUROC",
        "The chance that, of two questions drawn at random, one from each side, the one that should be more uncertain "
        "is so. 0.5 is no better than chance, below 0.5 is the wrong way round.",
    ),
    (
        "Anything else",
        "Where the answer is a letter, the probability that the model gives to whatever is none of the letters. It "
        "counts as one more outcome in entropy and Brier score.",
    ),
)
