; test: error

; expect:
line 3, column 1: found the end of the text, expected `graph`
