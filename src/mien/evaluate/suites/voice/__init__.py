"""The voice suite: is the personality there, heard by an ear and measured against its targets?"""
