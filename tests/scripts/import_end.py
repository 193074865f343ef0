

# What both scripts of `bt import` do in the end.
if act == "fill":
    fill()
else:
    # Right after a start the daemon does not know yet how far each torrent is.
    deadline = time.monotonic() + 20
    while True:
        try:
            compare()
            break
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
