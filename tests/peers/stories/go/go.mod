module h2trace.test/peers/stories

go 1.26.0

require golang.org/x/net v0.60.0
