"""A WebAssembly test suite against one node. No sockets, no files, no clock.

suite      what wast2json makes of a .wast file, and which parts of the core suite a node cannot do
own        the tests that come with the tools
script     the steps that a file asks for
node       those steps as requests to a node, and its replies as answers
judge      holds the answers against what the file says
results    what came out, as a table and as JUnit XML
"""
