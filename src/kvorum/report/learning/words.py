"""What the page of an experiment says in plain words: how to read its figures and tables."""

FIGURES = {
    "learning-1": (
        "Learning curves",
        "A row a test task, a line a function, each the mean over seeds; its band reaches from the least to the "
        "greatest seed. Functions differ in colour and in marker. All begin with the same labels and members, at one "
        "point. Bands that overlap do not mean that functions agree, since a seed that "
        "starts well does so for all of them: the next figure compares seed by seed.",
    ),
    "learning-2": (
        "Differences to random",
        "A panel a function: its number minus that of random at the same labels, seed by seed. Thin lines are the "
        "seeds, the strong one is their mean, and the band, of three seeds and more, is the interval of that mean. "
        "Where it holds zero, that round tells nothing by itself; what a function is judged by is the mean over all "
        "rounds, which is in the table. A band that leaves its panel goes on beyond it.",
    ),
    "learning-3": (
        "What was chosen",
        "A bar a round: what share of the questions that a function chose came from each part of the pool, as a mean "
        "over seeds. Hatched parts are noise: their labels are drawn by lot, so that nothing can be learned from them. "
        "The dashed line is their share of the pool, which a choice by lot would take. A function that stays below it "
        "tells what can be learned from what is merely uncertain.",
    ),
    "learning-4": (
        "Doubt about the pool and about the test",
        "Mean mutual information and entropy after each round's fit, a line a function, a band from the least to the "
        "greatest seed. The pool holds what is not labelled yet (where candidates is set, those drawn of it): a "
        "function that takes the most doubtful questions out lowers its mean even if the members learn nothing. The "
        "test questions stay the same, so that there only learning can lower it.",
    ),
}

TABLES = {
    "needs": (
        "Labels needed",
        "The labels at which accuracy on the first test task first reaches a target, on straight lines between "
        "rounds. Median over seeds, over the range of the seeds; a seed that does not reach the target counts as "
        "needing more than any. By the mean: the same of the curve of the mean over seeds, which a single seed sways "
        "less. ≤: the start reaches it already. Against random, up to the labels that both have come to: labels "
        "needed over those that random needs, the geometric mean over the seeds in which both reach the target after "
        "the start, over its interval; below 1 is fewer. Bold and coloured: 1 lies outside the interval, and no seed "
        "that is left out speaks against it. Random only, this only: seeds in which only one of the two reaches the "
        "target.",
    ),
    "ends": (
        "At the end",
        "Each function after its last round: mean over seeds, over its interval. Differences are to random at the same "
        "labels, seed by seed. Over all rounds: the mean of these differences over all rounds after the start, which "
        "is the difference of the areas under the learning curves and what the verdicts go by. Bold and coloured: zero "
        "lies outside the interval; green is better than random, red is worse.",
    ),
    "rounds": (
        "Round by round",
        "Means over seeds over their intervals; differences are to random at the same labels, seed by seed.",
    ),
    "chosen": (
        "What was chosen",
        "After the start, which is drawn by lot. Shares are means over seeds. Repeats were labelled before, but for "
        "case, spaces and the order of their choices. Entropy and MI (nats) are means over the chosen questions when "
        "they were chosen, minus the mean over the pool that they were chosen from: above zero, a function chose what "
        "the members doubted more than the rest.",
    ),
    "subjects": (
        "Subjects chosen",
        "The commonest subjects among what each function chose, over all seeds.",
    ),
    "overlaps": (
        "Questions in common",
        "What two functions both chose over what either did, in the same seed, as a mean over seeds: 1 where they "
        "choose the same, 0 where they share nothing. What a function has in common with random is what chance makes.",
    ),
    "doubt": (
        "Whether doubt falls",
        "Mean doubt after the start and after the last round, in nats, and the slope of a straight line through all "
        "rounds, in nats per 100 labels, over its interval. It falls where the whole interval lies below zero, rises "
        "where it lies above, and cannot be told where it holds zero or there is none.",
    ),
}

READING = (
    (
        "Seed",
        "A repetition of everything: other questions at the start, another start of the members, other lots. Within a "
        "seed all functions share the start, so they are compared seed by seed, and what makes a seed lucky cancels.",
    ),
    (
        "Interval",
        "A t interval over seeds: where the mean would lie with other seeds. It takes seeds to be normally "
        "distributed about their mean, which a few seeds cannot show, and with few of them it is wide for good "
        "reason. It takes three seeds. That few of them agree is no certainty: accuracies, shares and labels needed "
        "are taken to vary between seeds at least by what one test question, or chance among the questions chosen, "
        "makes. NLL and slopes have no such least step; where all seeds gave the same, they have no interval. It says "
        "nothing about other questions, tasks or models. That of a share may reach below 0 or above 1.",
    ),
    (
        "Better, worse, cannot be told apart",
        "By whether the interval of the difference to random over all rounds on the first test task leaves out zero. "
        "What cannot be told apart is not thereby the same: more seeds might tell it.",
    ),
    (
        "Noise",
        "A part of the pool whose labels are drawn by lot, so that there is nothing to learn from it.",
    ),
    (
        "Mutual information, MI (epistemic doubt, nats)",
        "The doubt that comes from members being sure of different things. 0 where all give the same probabilities.",
    ),
    (
        "Entropy (total doubt, nats)",
        "How torn the ensemble's answer is, be it that its members disagree or that each is torn for itself.",
    ),
)
