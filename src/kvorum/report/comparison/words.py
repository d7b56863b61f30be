"""What the page of a comparison says in plain words."""

FIGURES = {
    1: (
        "Every run against epoch",
        "A row a task, a line a run, each number with its own 95% interval. Runs stand a little to the side of each "
        "other so that all can be seen. Intervals that overlap do not mean that the runs agree: the same hard "
        "questions widen both. What the runs differ by is in the next figure.",
    ),
    2: (
        "Differences to the baseline",
        "A row a run, at its own epoch of best NLL in domain and at its own last epoch. Each mark is the run's number "
        "minus the baseline's, with its 95% interval. Filled and thick: the interval leaves out zero. Hollow and thin: "
        "it does not, and these questions do not tell the two apart. Arrows say which way is better; MI has none.",
    ),
}

READING = (
    (
        "What a difference is",
        "A run's number minus the baseline's, on the same questions. Its interval is that of a paired bootstrap: the "
        "questions are drawn again a thousand times, each time the same ones for both runs, so that what makes a "
        "question hard for both cancels.",
    ),
    (
        "What its interval says",
        "How far the difference would move with other questions of the same kind. It says nothing about how another "
        "fit of the same settings would come out: another seed is another run, and only several seeds can tell "
        "settings from luck.",
    ),
    (
        "How much to make of one",
        "Of differences that are nothing but chance, about one interval in twenty leaves out zero. A difference "
        "that holds on several tasks and epochs is worth more than a single one.",
    ),
    (
        "Best and last",
        "Best is each run's epoch of lowest NLL on the task it was fitted on, found with the very questions that are "
        "scored, so it flatters every run alike. The epochs may differ from run to run.",
    ),
    (
        "NLL, members",
        "What the members have on average, each alone. How much lower the ensemble's NLL is, that much the ensemble is "
        "worth in that run. It has no paired interval.",
    ),
)
