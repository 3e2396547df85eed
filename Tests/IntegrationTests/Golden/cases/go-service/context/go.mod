module example.org/server
require example.org/a v1.0.0
require example.org/b v1.2.0
