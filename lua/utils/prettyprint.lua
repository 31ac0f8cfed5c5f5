return require("prettyprint")
