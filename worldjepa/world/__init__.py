"""World models at work: environments, costs, planners and the agent that wires them."""
