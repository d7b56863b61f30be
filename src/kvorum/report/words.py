"""What the report says in plain words: how to read its figures and tables, what its terms mean."""

from typing import TypedDict

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
        "A row a task, a column a number; every panel has a scale of its own. The strongest line is all members "
        "together, whose probabilities are the mean of the members', with its 95% interval over questions. Each "
        "lighter line is what ensembles of M members score on average, the members being split into groups of that "
        "size; its band reaches from the least to the greatest of the groups. Dotted upright lines are marked epochs. "
        "Higher accuracy is better, lower NLL and calibration error are.",
        "One would hope that the strong line lies beyond the light ones, and that it keeps NLL and calibration error "
        "down in later epochs. Where they rise again while accuracy stays, the model has begun to overfit: it grows "
        "surer than it is right. A size whose line lies on the strongest one would have been enough. Calibration "
        "error alone is no victory: an ensemble less sure than it is right can score worse in it than its members.",
        "Bands and intervals do not compare: a band is the luck of which members there are, an interval that of which "
        "questions were asked. A band of few groups is narrower than the luck it stands for.",
    ),
    "figure-2": (
        *HISTOGRAM,
        "At epoch 0 all members are the same untouched model, so mutual information is zero, unless the run goes on "
        "from another one's members.",
    ),
    "figure-3": (
        "Read like figure 2, for tasks that the members were not fitted on. Where mutual information grows more here "
        "than on the task fitted on, the ensemble notices that it is asked about something else. Questions that stay "
        "at high entropy and low mutual information may be those where all members kept the base model's own doubt; "
        "whether they did is tested below, against its probabilities.",
    ),
    "figure-4": ("Read like figure 2, a column a task; all panels share their scales and colours, so tasks compare.",),
    "figure-5": (
        "A mark is a question: how torn the ensemble's answer is from left to right, and how much of that is because "
        "its members disagree from bottom to top (stretched near zero by the square root). The lines cut the plane in "
        "three: confident at the lower left, torn at the lower right, disputed above. Over each panel stand the shares "
        "of its questions. Mutual information is never above entropy, so the upper left is always empty.",
        "With fitting, one would hope to see right answers gather at the lower left, and wrong ones anywhere else. A "
        "cross at the lower left is the worst there is: every member is sure, of the same, and wrong.",
        "Where marks lie thick they hide each other, so the crowd is better judged from the shares and from the "
        "histograms. A cut is a convention, and a question just above it hardly differs from one just below.",
    ),
    "figure-6": (
        "On the left, how the questions of a task divide into confident, torn and disputed, epoch by epoch, the cuts "
        "staying where they are. On the right, how often the ensemble's answer is the right one in each, with its 95% "
        "interval over questions; where fewer than 5 questions have a known answer, nothing is drawn.",
        "One would hope that confident answers are nearly always right, and clearly more often than the others: then "
        "the doubt can be acted on. Where the confident share grows and the accuracy within it falls, the members "
        "grow sure of the same mistakes.",
        "A line on the right follows a kind of question, not the same questions: a quadrant's accuracy changes as well "
        "because questions move in and out of it.",
    ),
    "figure-7": (
        "Every question whose answer is known, against what the same model said before fitting (epoch 0). A bar is an "
        "epoch: above its short black line is what is right now, below what is wrong now. A ribbon between two bars is "
        "as thick as the number of questions that go that way.",
        "Retained: right before and now. Acquired: wrong before, right now. Forgotten: right before, wrong now. Never "
        "known: wrong both times. One would hope that much is acquired and little forgotten; on tasks not fitted on, "
        "what is forgotten is the price of fitting.",
        "An answer may be right by luck, before as well as now. With few choices some questions change sides without "
        "anything learned or lost, so that what is forgotten is in part lost luck, and what is acquired found luck.",
    ),
    "figure-8": (
        "How far the ensemble's probabilities have moved from the pre-trained model's: as KL divergence, as total "
        "variation (0 is the same, 1 shares nothing), and as the share of questions that still get the pre-trained "
        "model's answer, right or wrong. A line is the mean over the questions that lie in that part of the plane at "
        "that epoch, with its 95% interval over questions; of fewer than 5 questions nothing is drawn.",
        "Where torn questions have moved less than all questions, they still carry what the pre-trained model believed "
        "about them, and its doubt. Where they have moved as far, their doubt was made by fitting.",
        "A small distance says that nothing has changed, not that anything was known. Probabilities near a toss-up "
        "have also less far to go than those that become certain, which alone keeps torn questions nearer.",
    ),
    "figure-9": (
        "On the left, how often two members give different answers, and in the middle, how far their probabilities lie "
        "from each other, both as means over all pairs of members, a line a task, with 95% intervals over questions. "
        "The scale of the second goes by factors of ten; below its dotted line the members count as collapsed. "
        "On the right, the share of questions on which each pair of members disagrees, at the last epoch of the first "
        "task.",
        "At epoch 0 all members are the same, so both are zero. They should rise: members that stay alike are one "
        "member at many times the cost, and their mutual information says nothing. One pale cell among strong ones is "
        "a pair that has become the same.",
        "More difference is not better in itself: members that are all wrong in their own way differ most. Whether it "
        "is worth anything shows in figure 1.",
    ),
    "figure-10": (
        "Questions are answered from the least doubted on: to the right more of them, upwards the share of wrong "
        "answers among those answered so far. A line is a score of doubt; the thin grey one is a score that would "
        "doubt exactly the wrong answers. The diamond is where the run's calibration stops, on the calibration "
        "task as the mean over random halves.",
        "One would hope for a line that stays low for long: then the doubt tells which answers to keep back. Where a "
        "line is flat, its doubt says nothing about mistakes, and answering less does not help.",
        "Risks of few questions are a matter of luck, so the left end of a line is the least certain; the first ten "
        "questions are not drawn.",
    ),
}


class Said(TypedDict):
    """What the page says of a table: over it, and how to read it."""

    title: str
    hint: str


TABLES: dict[str, Said] = {
    "scores": {
        "title": "Scores of the ensemble and of its members",
        "hint": "Ensemble: the answers of the members' mean probabilities. Members: each member scored alone, and the "
        "scores averaged. An arrow says which way is better. Under a number stands its 95% interval: where it would "
        "lie with other questions of the same kind (bootstrap over questions). It says nothing about how another fit "
        "would come out. A dash means that there is nothing to compute it from.",
    },
    "subensembles": {
        "title": "What fewer members would have given",
        "hint": "The members are split into groups of each size, every group is taken as an ensemble of its own, and "
        "its numbers are averaged over the groups. Under a number stand the least and the greatest of the groups: how "
        "much luck there is in an ensemble of that size. Entropy and mutual information are in nats, on the questions "
        "that a group answers rightly and on those it does not.",
    },
    "gains": {
        "title": "How much of the gain each size keeps",
        "hint": "Gain: how much better than one member alone, so that more is better for every score. Kept: the share "
        "of what all members together gain. A dash means that all together are not clearly better than one (the "
        "interval of their gain reaches zero), so that there is no gain to keep.",
    },
    "uncertainty": {
        "title": "How uncertain, on right and on wrong answers",
        "hint": "In nats. The gap between right and wrong answers is what makes a doubt worth listening to. Medians "
        "have no interval.",
    },
    "quadrants": {
        "title": "Confident, torn and disputed questions",
        "hint": "How many questions lie in each part of the plane, and how many of them are answered rightly. A number "
        "of questions leads to their list.",
    },
    "ranking": {
        "title": "What the doubt is worth",
        "hint": "AUROC, wrong answers: the chance that a wrong answer is more uncertain than a right one. AUROC, other "
        "task: the chance that a question of this task is more uncertain than one of the task fitted on. 0.5 is a coin "
        "toss, 1 is perfect.",
    },
    "selective": {
        "title": "What answering less would leave of the risk",
        "hint": "AURC: the share of wrong answers among the least doubted questions, averaged over how many of "
        "them are answered (area under the risk-coverage curve). Excess: how much of that is the score's fault, "
        "since it does not doubt exactly the wrong answers. At the marked epochs; under a number stands its 95% "
        "interval over questions.",
    },
    "detection": {
        "title": "Whether doubt tells another task's questions from those in domain",
        "hint": "AUROC: the chance that a question of this task is more doubted than one of the task fitted on. "
        "AUPR: the mean precision of flagging the most doubted ones (average precision). FPR95: the share "
        "of in-domain questions that are flagged as well where 95% of this task's are.",
    },
    "decided": {
        "title": "What the calibration does, task by task",
        "hint": "Answered: the share of questions on which it does not abstain. Risk: the share of wrong answers "
        "among those. Coverage: how often an answer set holds the right answer; size: how many candidates it "
        "names. The calibration questions themselves are split at random twenty times, and what one half teaches "
        "is tried on the other. What is promised holds for questions of the calibration task's kind; on other "
        "tasks this is what becomes of it.",
    },
    "outcomes": {
        "title": "What became of each question",
        "hint": "Retained: right before fitting and now. Forgotten: right before, wrong now. Acquired: wrong before, "
        "right now. Never known: wrong both times. Shares are of the questions whose answer is known. A number of "
        "questions leads to their list.",
    },
    "crossed": {
        "title": "What was kept and forgotten, by the kind of doubt",
        "hint": "How many questions of each outcome are now confident, torn or disputed. What is forgotten and "
        "confident is where all members have learned the same wrong thing. A number leads to the list.",
    },
    "movement": {
        "title": "How far the answers have moved",
        "hint": "From the pre-trained model's probabilities to the ensemble's, as a mean over the questions that now "
        "lie in each part of the plane. KL in nats; TV, the total variation, from 0 (the same) to 1; same answer: the "
        "share of questions on which the ensemble still gives the pre-trained model's answer.",
    },
    "claim": {
        "title": "Do torn questions still carry the pre-trained answer?",
        "hint": "The paper holds that questions which stay torn after overfitting are ones where all members kept the "
        "pre-trained model's probabilities. Seen: members keep its answer on torn questions more often than on others, "
        "and lie nearer to the question's own earlier probabilities than to those of other torn questions, both beyond "
        "their intervals. Partly: one of the two.",
    },
    "diversity": {
        "title": "How much two members differ",
        "hint": "Disagreement: the share of questions that two members answer differently. KL: how far the "
        "probabilities of one lie from the other's, in nats. The closest pair is the one with the least KL.",
    },
}

SECTIONS = {
    "findings": (
        "What the run shows",
        "What the paper found, put to the test on this run by stated rules; intervals are over questions, so a verdict "
        "is about this run and not about every other.",
    ),
    "scores": (
        "How right",
        "How often the answers are right, how far probabilities can be trusted, and what members are worth together.",
    ),
    "doubt": (
        "How doubtful",
        "How uncertain the answers are, whether members doubt together or against each other, "
        "and whether the doubt is where the mistakes are.",
    ),
    "decisions": (
        "When to answer",
        "Whether the doubt can be acted on: what is gained by answering less, what a calibration promises and "
        "keeps, and whether questions of another kind are noticed.",
    ),
    "retention": (
        "What was kept and what forgotten",
        "Every question against what the same model said before fitting "
        "(epoch 0): whether it was and is right, and how far its probabilities have moved.",
    ),
    "diversity": (
        "How different the members are",
        "Members that answer alike are one member at many times the cost; their mutual information would say nothing.",
    ),
}
"""Title and hint of each section of the study."""

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
        "Confident, torn, disputed",
        "The plane of entropy and mutual information, cut in three. Confident: low entropy, every member is sure, and "
        "of the same. Torn: high entropy but low mutual information, every member is unsure in the same way. Disputed: "
        "high mutual information, members are sure of different things. Where the plane is cut stands above the table.",
    ),
    (
        "Marked epochs",
        "The epochs that the page looks at more closely: those asked for, or else the one of best NLL on the task "
        "fitted on, and the last.",
    ),
    (
        "Sub-ensemble, gain, kept",
        "A group of some of the members, taken as an ensemble of its own. Its gain is how much better it scores than "
        "one member alone; kept is that gain as a share of what all members gain together.",
    ),
    (
        "Retained, forgotten, acquired, never known",
        "A question that was answered rightly before fitting, at epoch 0, is retained or forgotten, by whether the "
        "ensemble now answers it rightly; one that was answered wrongly is acquired or never known.",
    ),
    (
        "KL (Kullback-Leibler divergence, nats)",
        "How far one set of probabilities lies from another: the mean logarithm of how many times as probable the "
        "first makes what it believes. 0 where they are the same, without upper limit.",
    ),
    (
        "Total variation",
        "The greatest difference in probability that two sets of probabilities give to any set of answers: 0 where "
        "they are the same, 1 where they share nothing.",
    ),
    (
        "Disagreement",
        "The share of questions to which two members give different answers, as a mean over all pairs.",
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


def count(number: int, noun: str) -> str:
    """A number of things in words: `1 question`, `1,221 questions`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
