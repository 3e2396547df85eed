module app
require example.org/x v0.1.0
