"""Operations of users on their own accounts."""
