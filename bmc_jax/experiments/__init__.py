"""The paper's tables as arms and claims."""
