"""The one room that opens clients, configures logging and builds the stages from settings.

Whatever it hands out knows neither a setting nor a variable of the environment.
"""
