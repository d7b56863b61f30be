"""What is asked: questions, tasks from the hub, from files or built in, prompts, and their tokens."""

from kvorum.tasks.encoding import EncodedQuestion, encode
from kvorum.tasks.load import load_task, task_names
from kvorum.tasks.prompts import LETTERS, Prompt, default_template, load_template
from kvorum.tasks.question import Question, Task

__all__ = [
    "LETTERS",
    "EncodedQuestion",
    "Prompt",
    "Question",
    "Task",
    "default_template",
    "encode",
    "load_task",
    "load_template",
    "task_names",
]
