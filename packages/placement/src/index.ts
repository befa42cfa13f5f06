// exports follow
