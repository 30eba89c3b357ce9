from merchants.models import CheckoutPage, Member, Merchant, User


def make_merchant(name="Northlight"):
    merchant = Merchant.objects.create(name=name, slug=name.lower())
    CheckoutPage.objects.create(merchant=merchant, code="main")
    owner = User.objects.create_user(f"owner@{merchant.slug}.example", "correct horse")
    Member.objects.create(merchant=merchant, user=owner, role=Member.Role.OWNER)
    return merchant


def make_member(merchant, role=Member.Role.SUPPORT, first_name="Sam"):
    email = f"{role}-{first_name.lower()}@{merchant.slug}.example"
    user = User.objects.create_user(email, "correct horse", first_name=first_name)
    return Member.objects.create(merchant=merchant, user=user, role=role)
