"""Adapters from elsewhere and for elsewhere: PEFT's folders in and out, and the Hugging Face hub.

What lies in a folder is a stranger's: bounded before it is read, held to its types before it is believed, and refused
where kvorum would not compute what PEFT computes.
"""
