"""Whether a pipeline may go where others depend on it: questions, facts, and what to do.

`gather` asks servers and files once and makes `Facts` of what it hears; every question is a
function of facts alone. A new one is that function and one line in `questions.QUESTIONS`. Only the
command line comes in here.
"""
