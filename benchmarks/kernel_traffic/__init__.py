"""What gpu_traffic.py is made of, and the pages and pictures that its record becomes.

requests.py   adding up what the emulator wrote down
bounds.py     how near to its peak a kernel can come at best, by what it was counted to move
pages.py      the generated parts of docs/convolution_on_the_gpu
pictures.py   its pictures: what the record says
sketches.py   its pictures: ideas, which no count goes into
svg.py        rectangles, lines, polygons and text
"""
